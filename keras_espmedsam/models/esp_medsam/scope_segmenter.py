"""A segmenter's judgement whether an image is of the kind that was said."""

import keras

from keras_espmedsam._upward import upward
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.scope import checked_scope, coefficients_by_modality
from keras_espmedsam.layers import ScopeScore


class ScopeSegmenter:
    """The property and the methods. A subclass is an `ImageSegmenter` with `rebuilt_with`.

    Example:
        >>> encoder = TinyViTBackbone(
        ...     hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...     window_sizes=(4, 4, 4), neck_dim=32, num_modalities=6)
        >>> backbone = ESPMedSAMBackbone(encoder, transformer_num_heads=2, transformer_mlp_dim=64)
        >>> converter = ESPMedSAMImageConverter(image_size=(64, 64))
        >>> segmenter = ESPMedSAMImageSegmenter(
        ...     backbone, ESPMedSAMImageSegmenterPreprocessor(converter))
    """

    @property
    def scope(self):
        """dict of modality to the coefficients from which the score of its images is computed."""
        return self._scope()

    def _set_scope(self, scope):
        embeddings = self.backbone.output.get("image_embeddings")
        if embeddings is None and scope:
            raise InputError(
                f"Received a scope for a segmenter whose {type(self.backbone).__name__} gives no "
                "`image_embeddings`, from which it is computed; leave it out."
            )
        width = 0 if embeddings is None else embeddings.shape[-1]
        scope = checked_scope(scope, self.modalities, width)
        # A function, since Keras would wrap a dict in an attribute.
        self._scope = lambda: scope

    def scope_output(self, embeddings, modalities):
        """Return the model's further output, if it tells which images are in scope.

        Args:
            embeddings: symbolic `(batch, height, width, channels)`.
            modalities: symbolic `(batch,)`, or `None` with one modality.

        Returns:
            dict of `scope_score`, symbolic `(batch,)`; empty without coefficients.
        """
        if not self.scope:
            return {}
        coefficients = coefficients_by_modality(self.scope, self.modalities)
        return {"scope_score": ScopeScore(coefficients, name="scope_score")(embeddings, modalities)}

    def embedding_model(self):
        """Return a model of the same weights and inputs that gives the image embeddings alone.

        Example:
            >>> segmenter.embedding_model().output.shape[-1]
            32
        """
        return keras.Model(self.backbone.input, self.backbone.output["image_embeddings"])

    def with_scope(self, scope):
        """Return this model with other coefficients of the scope.

        Args:
            scope: as the class takes it; `None` for a model that does not tell it.

        Returns:
            `ESPMedSAMImageSegmenter` of the same backbone: both share all weights.

        Example:
            >>> able = segmenter.with_scope(None)
            >>> found = able.segment(np.zeros((40, 40, 3), "uint8"), "fundus")
            >>> found["scope_score"], found["in_scope"]
            (None, None)
        """
        return self.rebuilt_with(scope=scope)

    def fit_scope(self, data, **options):
        """Return this model with a judgement whether an image is of the kind that was said.

        No masks are needed. No weight changes, and the masks stay the same: the result shares all
        weights. Modalities of which there are too few images keep what they have.

        Args:
            data: path of an index, or a list of `keras_espmedsam.data.Record`. Images of the split
                `val` set the threshold, and those of `train` the rest.
            **options: see `keras_espmedsam.evaluation.fit_scope`, such as `others`, images of no
                modality.

        Returns:
            `ESPMedSAMImageSegmenter` of the same backbone, whose `segment` returns `scope_score`
            and `in_scope`.

        Raises:
            InputError: for images that cannot be used, and too few of them.

        Source: arXiv 1812.04606; see `keras_espmedsam.evaluation.fit_scope`.
        """
        found = upward("fit_scope")(self, data, **options)
        return self.with_scope({**self.scope, **found})

    def fit_scope_threshold(self, data, **options):
        """Return this model with thresholds of its scope at which images of a place are accepted.

        For images of another hospital that are flagged although they are of the modality: 19 of
        them are needed, without masks, and none of other kinds. Modalities of which no more are
        flagged than at home, or of which there are fewer, keep what they have.

        Args:
            data: path of an index, whose val split is used, or a list of
                `keras_espmedsam.data.Record`.
            **options: see `keras_espmedsam.evaluation.fit_scope_threshold`.

        Returns:
            `ESPMedSAMImageSegmenter` of the same backbone.

        Raises:
            InputError: without a scope, and for images that cannot be used or are too few.
        """
        found = upward("fit_scope_threshold")(self, data, **options)
        return self.with_scope({**self.scope, **{one.modality: one.coefficients for one in found}})
