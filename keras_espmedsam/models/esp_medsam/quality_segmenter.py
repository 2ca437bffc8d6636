"""A segmenter's prediction of how good its masks are."""

from keras_espmedsam._upward import upward
from keras_espmedsam.inference.quality import checked_quality, coefficients_by_channel
from keras_espmedsam.layers import MaskQuality


class QualitySegmenter:
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
    def quality(self):
        """dict of modality to dict of target to the coefficients of its predicted Dice."""
        return self._quality()

    def _set_quality(self, quality):
        quality = checked_quality(quality, self.target_set)
        # A function, since Keras would wrap a dict in an attribute.
        self._quality = lambda: quality

    def quality_output(self, logits, modalities):
        """Return the model's further output, if it predicts the quality of its masks.

        Args:
            logits: symbolic `(batch, height, width, channels)`.
            modalities: symbolic `(batch,)`, or `None` with one modality.

        Returns:
            dict of `quality`, symbolic `(batch, channels)`; empty without coefficients.
        """
        if not self.quality:
            return {}
        coefficients = coefficients_by_channel(self.quality, self.target_set)
        return {"quality": MaskQuality(coefficients, name="mask_quality")(logits, modalities)}

    def with_quality(self, quality):
        """Return this model with other coefficients of the predicted quality.

        Args:
            quality: as the class takes it; `None` for a model that predicts none.

        Returns:
            `ESPMedSAMImageSegmenter` of the same backbone: both share all weights.

        Example:
            >>> numbers = dict.fromkeys(kem.inference.quality.COEFFICIENTS, 0.0)
            >>> able = segmenter.with_quality({"fundus": {"mask": numbers}})
            >>> able.segment(np.zeros((40, 40, 3), "uint8"), "fundus")["quality"]
            {'mask': 0.5}
        """
        return self.rebuilt_with(quality=quality)

    def fit_quality(self, data, outputs=None, **options):
        """Return this model with a prediction of how good its masks are, fitted on labelled images.

        No weight changes, and the masks stay the same: the result shares all weights. Give images
        that the model was not trained on, such as the val split, of several data sets if you can.
        Coefficients of targets that the images do not show stay as they are.

        Args:
            data: path of an index of images and masks, whose val split is used, or a list of
                `keras_espmedsam.data.Record`.
            outputs: as for `calibrate`.
            **options: see `keras_espmedsam.evaluation.fit_quality`.

        Returns:
            `ESPMedSAMImageSegmenter` of the same backbone, whose `segment` returns `quality`.

        Raises:
            InputError: for images that cannot be used.
        """
        found = upward("fit_quality")(outputs or self, data, **options)
        merged = {modality: dict(of) for modality, of in self.quality.items()}
        for modality, of in found.items():
            merged.setdefault(modality, {}).update(of)
        return self.with_quality(merged)
