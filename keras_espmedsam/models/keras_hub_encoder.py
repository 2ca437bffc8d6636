"""keras-hub's feature pyramids as image encoders: EfficientNet, ResNet, DenseNet, CSPNet, MiT."""

import keras
from keras_hub.models import Backbone

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.origins import ENCODER, checked_origins, origins_of
from keras_espmedsam.hub.sizes import check_sizes
from keras_espmedsam.layers import ModalityAdapter
from keras_espmedsam.models.encoder_stages import connect, make_neck
from keras_espmedsam.models.folding import copy_weights
from keras_espmedsam.models.image_encoder import FeatureLevel, ImageEncoder, probed_levels
from keras_espmedsam.models.inference_graph import folded_graph
from keras_espmedsam.models.keras_export import exports_from_any_backend
from keras_espmedsam.models.keras_hub_backbones import (
    image_shape_of,
    levels_of,
    load_backbone,
    made_in,
    make_backbone,
    serialize_backbone,
)
from keras_espmedsam.models.keras_hub_normalization import (
    IMAGENET,
    checked_normalization,
    preset_normalization,
    renormalization,
)
from keras_espmedsam.models.lora import adapts_by_lora
from keras_espmedsam.models.pyramid_stages import chosen_levels, cut_at
from keras_espmedsam.models.quantization import keeps_quantization

# In the neck, unless levels are named: every model must take images of multiples of 32 pixels.
COARSEST_STRIDE = 32
# Of the embedding, unless another is asked for; ESP-MedSAM's.
USUAL_STRIDE = 16
# Width of an adapter over its level's, and the largest, unless a ratio is given.
BOTTLENECK_RATIO, LARGEST_BOTTLENECK = 0.25, 64


@adapts_by_lora
@exports_from_any_backend
@keeps_quantization
@keras.saving.register_keras_serializable(package="keras_espmedsam")
class KerasHubImageEncoder(Backbone, ImageEncoder):
    """A `FeaturePyramidBackbone` of keras-hub with modality controllers and a neck.

    So a network can begin from whatever keras-hub has weights for. A controller adds an adapter to
    the feature map of a level, and the next level is computed from the sum. Convolutions have no
    attention, so there are no tokens. Levels beyond those that the neck takes are dropped with
    their weights.

    Images are normalised as for every encoder, by the segmenter's `"imagenet"`. A backbone that was
    trained with another normalisation gets it in its first layer.

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
            `None` is those of stride 8 to 32, or the last one.
        output_stride: int or None. Pixels per step of the embedding; `None` is that of the level
            in the neck that is nearest to 16.
        num_modalities: int. Number of modality controllers; 0 for none.
        adapter_ratio: float, or one for each of the controllers' levels. Hidden width of the
            adapters over the level's width; `None` is a quarter, but at most 64 channels.
        adapter_zero_init: bool. See `ModalityAdapter`. By default adapters begin as zero, since
            pretrained levels must at first see what they were trained on.
        controller_levels: tuple of str or None. Levels that get adapters; `None` is those of stride
            8 or more. Adapters of finer levels have few weights, but many pixels to compute.
        normalization: what the backbone was trained with: `"imagenet"`, or mean and divisor of
            values from 0 to 255, each a number or one per channel, as `(127, 128)`. `None` is what
            the preset's image converter says, and `"imagenet"` without a preset.
        image_shape: tuple `(height, width, 3)`; with `None`s the backbone's own, often any size.
        origins: list of dicts, or None. What the backbone's weights are: `name`, and where known
            `licence`, `source` and `sha256`. They are saved with the model, and stand in the card
            of a preset that is made of it. `None` is what is known of the preset whose weights are
            loaded, and otherwise nothing.
        dtype: dtype or `keras.DTypePolicy` of the neck, and of a backbone that is built here.

    Call: images `(batch, height, width, 3)`, normalised floats, or with several controllers
    `{"images": ..., "modalities": (batch,) int}`, to
    `(batch, height / output_stride, width / output_stride, neck_dim)`.

    Raises:
        InputError: for a backbone without levels, or one that cannot be built or loaded; for a
            preset that does not say how images are normalised, if `normalization` is `None`; for
            levels that do not exist, or whose controller would change nothing; for origins that
            are not understood.

    Example:
        >>> densenet = {"class_name": "DenseNetBackbone", "config": {
        ...     "stackwise_num_repeats": [1, 1, 1], "compression_ratio": 0.5, "growth_rate": 4}}
        >>> encoder = KerasHubImageEncoder(
        ...     densenet, neck_dim=16, neck_levels=("P3", "P4"), output_stride=8, num_modalities=6)
        >>> inputs = {"images": np.zeros((1, 64, 96, 3)), "modalities": np.array([2])}
        >>> tuple(encoder(inputs).shape)
        (1, 8, 12, 16)

    Source: keras-hub, the backbones; arXiv 1612.03144, feature pyramids; ESP-MedSAM
    (arXiv 2407.14153), the controllers; arXiv 1902.00751, narrow adapters that begin as zero.
    Departs from ESP-MedSAM: adapters follow the levels of a convolutional network, without tokens.
    """

    def __init__(
        self,
        backbone=None,
        preset=None,
        load_weights=True,
        neck_dim=256,
        neck_levels=None,
        output_stride=None,
        num_modalities=0,
        adapter_ratio=None,
        adapter_zero_init=True,
        controller_levels=None,
        normalization=None,
        image_shape=(None, None, 3),
        origins=None,
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
            num_modalities=num_modalities,
            image_shape=image_shape,
        )
        image_shape = tuple(image_shape)
        if origins is None and preset is not None and load_weights:
            origins = origins_of(preset, ENCODER)
        origins = checked_origins(origins, ENCODER)
        if normalization is not None:
            normalization = checked_normalization(normalization)
        elif preset is None:
            normalization = IMAGENET
        if preset is not None:
            with made_in(dtype):
                backbone = load_backbone(preset, load_weights, image_shape, dtype)
            if normalization is None:
                normalization = preset_normalization(preset)
        elif not isinstance(backbone, keras.Model):
            with made_in(dtype):
                backbone = make_backbone(backbone, image_shape, dtype)
        image_shape = image_shape_of(backbone, image_shape)
        pyramid = keras.Model(backbone.input, levels_of(backbone))
        levels = probed_levels(
            backbone,
            lambda images, modalities: pyramid(images),
            None if None in image_shape[:2] else image_shape[:2],
        )
        if neck_levels is None and neck_dim is None:
            neck_levels = (list(levels)[-1],)
        neck_levels = chosen_levels(backbone, levels, neck_levels, coarsest=COARSEST_STRIDE)
        last = max(list(levels).index(name) for name in neck_levels)
        levels = dict(list(levels.items())[: last + 1])

        # === Layers ===
        self.rescaling = None
        if normalization != IMAGENET:
            scale, offset = renormalization(normalization)
            self.rescaling = keras.layers.Rescaling(scale, offset, name="rescaling", dtype=dtype)
        adapted = ()
        if num_modalities:
            adapted = chosen_levels(backbone, levels, controller_levels)
        maps = levels_of(backbone)
        # `folded` gives the stages.
        self.stages = kwargs.pop("stages", None) or cut_at(
            backbone.input, {name: maps[name] for name in levels}, adapted
        )
        self._stage_levels = [tuple(stage.output) for stage in self.stages]
        # A level that the next ones are not computed from counts only if the neck takes it.
        read = {*neck_levels, *(names[-1] for names in self._stage_levels)}
        if controller_levels is not None and not set(adapted) <= read:
            raise _no_effect(backbone, [name for name in adapted if name not in read])
        adapted = tuple(name for name in adapted if name in read)
        widths = _hidden_widths([levels[name].width for name in adapted], adapter_ratio)
        self.adapters = {
            name: ModalityAdapter(
                num_modalities, width, adapter_zero_init, name=f"adapter_{name}", dtype=dtype
            )
            for name, width in zip(adapted, widths, strict=True)
        }
        strides = [level.stride for level in levels.values()]
        indices = tuple(list(levels).index(name) for name in neck_levels)
        if output_stride is None and neck_dim is not None:
            output_stride = min((strides[i] for i in indices), key=lambda s: abs(s - USUAL_STRIDE))
        self.neck, _, stride = make_neck(
            "KerasHubImageEncoder", strides, neck_dim, indices, output_stride, dtype
        )
        self.neck_levels = neck_levels
        self._pyramid_levels = levels

        # === Functional Model ===
        inputs, features = connect(image_shape, num_modalities, self)
        super().__init__(inputs=inputs, outputs=features["embedding"], dtype=dtype, **kwargs)

        # === Config ===
        # Not the backbone itself: this model does not include levels beyond the neck.
        self._backbone_config = serialize_backbone(backbone, self.dtype_policy)
        self.neck_dim = neck_dim
        self.output_stride = stride
        self.num_modalities = num_modalities
        self.adapter_ratio = adapter_ratio
        self.adapter_zero_init = adapter_zero_init
        self.controller_levels = adapted or controller_levels
        self.normalization = normalization
        self.image_shape = image_shape
        self.origins = origins

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
            modalities: int tensor `(batch,)`; not needed with 0 or 1 controllers, or without them.
            controllers: bool. `False` runs only the shared encoder, without any modality's
                controller, as for learning what the modalities have in common.
            training: bool or `None`. In training mode BatchNorm uses and updates its statistics.

        Returns:
            dict of `P1`, `P2`, ... and `embedding`, each `(batch, h, w, channels)`.
        """
        x = images if self.rescaling is None else self.rescaling(images)
        features = {}
        for stage, names in zip(self.stages, self._stage_levels, strict=True):
            maps = stage(x, training=training)
            for name in names:
                x = maps[name]
                if controllers and name in self.adapters:
                    # Maps of keras-hub can be in float32 at half precision, where "+" is refused.
                    x = keras.ops.add(x, self.adapters[name](x, modalities))
                features[name] = x
        if self.neck is not None:
            x = self.neck([features[name] for name in self.neck_levels])
        return {**features, "embedding": x}

    def controller_layers(self, index):
        return [adapter.adapters[index] for adapter in self.adapters.values()]

    def folded(self):
        config = {**self.get_config(), "stages": list(map(folded_graph, self.stages))}
        copy = type(self).from_config(config)
        copy_weights(self, copy, _layers_besides_stages)
        return copy

    def layers_by_depth(self):
        """Return the backbone's layers by the level that first needs them, with its adapter."""
        depths, seen = [], set()
        for stage, names in zip(self.stages, self._stage_levels, strict=True):
            for name in names:
                layers = keras.Model(stage.input, stage.output[name]).layers
                depths.append([one for one in layers if one.weights and id(one) not in seen])
                seen |= {id(layer) for layer in layers}
                if name in self.adapters:
                    depths[-1].append(self.adapters[name])
        return depths

    def get_config(self):
        origins = [one._asdict() for one in self.origins]
        return {
            **super().get_config(),
            "backbone": self._backbone_config,
            "neck_dim": self.neck_dim,
            "neck_levels": self.neck_levels,
            "output_stride": self.output_stride,
            "num_modalities": self.num_modalities,
            "adapter_ratio": self.adapter_ratio,
            "adapter_zero_init": self.adapter_zero_init,
            "controller_levels": self.controller_levels,
            "normalization": self.normalization,
            "image_shape": self.image_shape,
            # A model of which none is known is saved as before there were origins.
            **({"origins": origins} if origins else {}),
        }


def _layers_besides_stages(encoder):
    return [layer for layer in encoder.layers if layer not in encoder.stages]


def _hidden_widths(widths, ratio):
    """Return the hidden width of each adapter, from the widths of their levels."""
    if ratio is None:
        return [max(1, min(int(width * BOTTLENECK_RATIO), LARGEST_BOTTLENECK)) for width in widths]
    ratios = list(ratio) if isinstance(ratio, list | tuple) else [ratio] * len(widths)
    for one in ratios:
        check_sizes("KerasHubImageEncoder", adapter_ratio=one)
    if widths and len(ratios) != len(widths):
        raise InputError(
            f"KerasHubImageEncoder received {len(ratios)} values of adapter_ratio for "
            f"{len(widths)} levels with controllers; give one for each, or a single one."
        )
    return [max(1, int(width * one)) for width, one in zip(widths, ratios, strict=False)]


def _no_effect(backbone, names):
    return InputError(
        f"Received controller_levels with {', '.join(names)} of {type(backbone).__name__}, from "
        "which alone no later level is computed and which the neck does not take; a controller "
        "there would change nothing. Leave out such levels, or add them to neck_levels."
    )
