"""Load or build keras-hub's feature pyramids, and read their levels."""

import contextlib

import keras
import keras_hub
from keras_hub.models import Backbone, EfficientNetBackbone, FeaturePyramidBackbone

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.models.image_encoder import deserialize_within, serialize_within

# Keys for the input shape in the configuration of keras-hub's backbones.
_SHAPES = ("image_shape", "input_shape")


@contextlib.contextmanager
def made_in(dtype):
    """Apply the dtype also to backbones that do not pass it to their layers (EfficientNet)."""
    before = keras.config.dtype_policy()
    if dtype is not None:
        keras.config.set_dtype_policy(dtype)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def load_backbone(preset, load_weights, image_shape, dtype):
    """Load a backbone from a preset of keras-hub; raise `InputError` if that fails."""
    options = {"load_weights": load_weights, "dtype": dtype}
    if dtype is None:
        del options["dtype"]
    try:
        if None in image_shape[:2]:
            return Backbone.from_preset(preset, **options)
        try:
            return Backbone.from_preset(preset, image_shape=image_shape, **options)
        except TypeError:
            # Most take any size, and have no argument for it.
            return Backbone.from_preset(preset, **options)
    # A damaged folder or a failed download can raise almost any exception.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".:")
        raise InputError(
            f"The keras-hub preset {preset} cannot be loaded ({type(error).__name__}: {reason}); "
            "give the name of one of its image backbones, or a folder."
        ) from error


def make_backbone(config, image_shape, dtype):
    """Build a backbone from its configuration."""
    if not isinstance(config, dict) or not isinstance(config.get("class_name"), str):
        raise InputError(
            f"Received a backbone of type {type(config).__name__}; expected a keras-hub "
            'FeaturePyramidBackbone, or {"class_name": ..., "config": {...}}.'
        )
    inner = dict(config.get("config") or {})
    if None not in image_shape[:2]:
        inner |= {key: image_shape for key in _SHAPES if key in inner}
    if "registered_name" in config:
        return deserialize_within({**config, "config": inner}, dtype)
    # By name only, as people write it in a file.
    name = config["class_name"]
    made = getattr(keras_hub.models, name, None)
    if not isinstance(made, type) or not issubclass(made, FeaturePyramidBackbone):
        known = [
            one
            for one, value in vars(keras_hub.models).items()
            if isinstance(value, type) and issubclass(value, FeaturePyramidBackbone)
        ]
        raise InputError(
            f"keras-hub has no feature pyramid {name!r}{did_you_mean(name, known)} Give one of "
            f"{', '.join(sorted(set(known) - {'FeaturePyramidBackbone'}))}."
        )
    try:
        return made(**{"dtype": dtype, **inner})
    except (TypeError, ValueError) as error:
        raise InputError(f"The backbone {name} cannot be built: {error}") from error


def serialize_backbone(backbone, policy):
    config = serialize_within(backbone, policy)
    if isinstance(backbone, EfficientNetBackbone):
        # keras-hub 0.32 omits it, so the default would be built; it is the last width.
        inner = {"num_features": backbone.output.shape[-1], **config["config"]}
        config = {**config, "config": inner}
    return config


def levels_of(backbone):
    """Return a dict of the levels' symbolic maps, from fine to coarse."""
    levels = backbone.pyramid_outputs if isinstance(backbone, FeaturePyramidBackbone) else {}
    if not levels or isinstance(backbone.input, dict | list):
        raise InputError(
            f"Received the backbone {type(backbone).__name__}, which has no pyramid of feature "
            "maps of one image; expected a keras-hub FeaturePyramidBackbone, such as "
            "EfficientNetBackbone."
        )
    for name, level in levels.items():
        if len(level.shape) != 4 or backbone.input.shape[-1] is None:
            raise InputError(
                f"The level {name!r} of {type(backbone).__name__} has the shape {level.shape}; "
                "expected (batch, height, width, channels), with data_format channels_last."
            )
    return dict(levels)


def image_shape_of(backbone, image_shape):
    """Return the requested shape of the images, or the backbone's own."""
    own = tuple(backbone.input.shape[1:])
    wanted = (*(a or b for a, b in zip(image_shape[:2], own[:2], strict=True)), own[-1])
    if any(b is not None and a != b for a, b in zip(wanted, own, strict=True)):
        raise InputError(
            f"Received image_shape={image_shape} for {type(backbone).__name__}, which was built "
            f"for images of {own}; build it for that shape, or leave image_shape out."
        )
    return wanted
