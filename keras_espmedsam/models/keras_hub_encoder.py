"""keras-hub's feature pyramids as image encoders: EfficientNet, ResNet, DenseNet, CSPNet, MiT."""

import keras
from keras_hub.models import Backbone

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.hub.sizes import check_sizes
from keras_espmedsam.models.encoder_stages import make_neck
from keras_espmedsam.models.image_encoder import FeatureLevel, ImageEncoder, probed_levels
from keras_espmedsam.models.keras_export import exports_from_any_backend
from keras_espmedsam.models.keras_hub_backbones import (
    image_shape_of,
    levels_of,
    load_backbone,
    made_in,
    make_backbone,
    serialize_backbone,
)
from keras_espmedsam.models.lora import adapts_by_lora
from keras_espmedsam.models.quantization import keeps_quantization


@adapts_by_lora
@exports_from_any_backend
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class KerasHubImageEncoder(Backbone, ImageEncoder):
    """A `FeaturePyramidBackbone` of keras-hub with a neck over some of its levels.

    It has no modality controllers: in an `ESPMedSAMBackbone` only the queries distinguish
    modalities. Levels beyond those that the neck takes are dropped with their weights. Images
    are normalised by the segmenter's image converter; its `"imagenet"` is what most of keras-hub's
    classifiers were trained with.

    Args:
        backbone: `FeaturePyramidBackbone`, whose layers are used directly, or its configuration,
            `{"class_name": "ResNetBackbone", "config": {...}}`.
        preset: str or None. A preset of keras-hub to use instead, such as
            `"efficientnet_b0_ra_imagenet"` or a folder. Needed only the first time: the saved
            model holds the weights.
        load_weights: bool. Whether to load the preset's weights, or only its architecture.
        neck_dim: int or None. Width of the embedding; `None` leaves the neck out and returns the
            last level's feature map.
        neck_levels: tuple of str or None. Levels that enter the neck, as `("P3", "P4", "P5")`;
            `None` is the last one.
        output_stride: int or None. Pixels per step of the embedding; `None` is that of the
            coarsest level in the neck.
        image_shape: tuple `(height, width, 3)`; with `None`s the backbone's own, often any size.
        dtype: dtype or `keras.DTypePolicy` of the neck, and of a backbone that is built here.

    Call: images `(batch, height, width, 3)`, normalised floats, to
    `(batch, height / output_stride, width / output_stride, neck_dim)`.

    Raises:
        InputError: for a backbone without levels, or one that cannot be built or loaded.

    Example:
        >>> densenet = {"class_name": "DenseNetBackbone", "config": {
        ...     "stackwise_num_repeats": [1, 1, 1], "compression_ratio": 0.5, "growth_rate": 4}}
        >>> encoder = KerasHubImageEncoder(
        ...     densenet, neck_dim=16, neck_levels=("P3", "P4"), output_stride=8)
        >>> tuple(encoder(np.zeros((1, 64, 96, 3))).shape)
        (1, 8, 12, 16)

    Source: keras-hub, the backbones; arXiv 1612.03144, feature pyramids.
    """

    def __init__(
        self,
        backbone=None,
        preset=None,
        load_weights=True,
        neck_dim=256,
        neck_levels=None,
        output_stride=None,
        image_shape=(None, None, 3),
        dtype=None,
        **kwargs,
    ):
        if (backbone is None) == (preset is None):
            raise InputError(
                "KerasHubImageEncoder expected either a backbone or a preset; received "
                f"{'neither' if preset is None else 'both'}."
            )
        check_sizes(
            "KerasHubImageEncoder",
            neck_dim=neck_dim,
            output_stride=output_stride,
            image_shape=image_shape,
        )
        image_shape = tuple(image_shape)
        if preset is not None:
            with made_in(dtype):
                backbone = load_backbone(preset, load_weights, image_shape, dtype)
        elif not isinstance(backbone, keras.Model):
            with made_in(dtype):
                backbone = make_backbone(backbone, image_shape, dtype)
        pyramid = levels_of(backbone)
        names = tuple(neck_levels) if neck_levels is not None else (list(pyramid)[-1],)
        for name in names:
            if name not in pyramid:
                raise InputError(
                    f"Received the level {name!r} of {type(backbone).__name__}; expected one of "
                    f"{', '.join(pyramid)}{did_you_mean(name, pyramid)}"
                )
        last = max(list(pyramid).index(name) for name in names)
        pyramid = dict(list(pyramid.items())[: last + 1])
        image_shape = image_shape_of(backbone, image_shape)

        # === Layers ===
        self.pyramid = keras.Model(backbone.input, pyramid, name="pyramid")
        size = None if None in image_shape[:2] else image_shape[:2]
        self._pyramid_levels = probed_levels(
            backbone, lambda images, modalities: self.pyramid(images), size
        )
        strides = [level.stride for level in self._pyramid_levels.values()]
        indices = tuple(list(pyramid).index(name) for name in names)
        self.neck, _, stride = make_neck(
            "KerasHubImageEncoder", strides, neck_dim, indices, output_stride, dtype
        )
        self._neck_names = names

        # === Functional Model ===
        images = keras.Input(shape=image_shape, name="images")
        super().__init__(
            inputs=images, outputs=self.features(images)["embedding"], dtype=dtype, **kwargs
        )

        # === Config ===
        # Not the backbone itself: this model does not include levels beyond the neck.
        self._backbone_config = serialize_backbone(backbone, self.dtype_policy)
        self.neck_dim = neck_dim
        self.neck_levels = names
        self.output_stride = stride
        self.image_shape = image_shape

    @property
    def levels(self):
        levels = self._pyramid_levels
        width = self.neck_dim or list(levels.values())[-1].width
        return {**levels, "embedding": FeatureLevel(self.output_stride, width)}

    @property
    def size_multiple(self):
        """Height and width must be multiples of it, so that the neck's maps have equal sizes."""
        return max(level.stride for level in self._pyramid_levels.values())

    def features(self, images, modalities=None, controllers=True, training=None):
        """Compute the feature maps of all levels up to the neck's last one, and the embedding.

        Args:
            images: float tensor `(batch, height, width, 3)`, normalised.
            modalities: ignored; every image encoder takes it.
            controllers: ignored.
            training: bool or `None`. In training mode BatchNorm uses and updates its statistics.

        Returns:
            dict of `P1`, `P2`, ... and `embedding`, each `(batch, h, w, channels)`.
        """
        features = self.pyramid(images, training=training)
        if self.neck is None:
            return {**features, "embedding": list(features.values())[-1]}
        return {**features, "embedding": self.neck([features[name] for name in self._neck_names])}

    def layers_by_depth(self):
        """Return the backbone's layers by the level that first needs them."""
        depths, seen = [], set()
        for output in self.pyramid.output.values():
            layers = keras.Model(self.pyramid.input, output).layers
            depths.append([one for one in layers if one.weights and id(one) not in seen])
            seen |= {id(layer) for layer in layers}
        return depths

    def get_config(self):
        return {
            **super().get_config(),
            "backbone": self._backbone_config,
            "neck_dim": self.neck_dim,
            "neck_levels": self.neck_levels,
            "output_stride": self.output_stride,
            "image_shape": self.image_shape,
        }
