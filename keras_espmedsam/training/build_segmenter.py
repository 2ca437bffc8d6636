"""A segmenter as a configuration describes it."""

import contextlib
import inspect

import keras

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.models import (
    ESPMedSAMBackbone,
    ESPMedSAMImageConverter,
    ESPMedSAMImageSegmenter,
    ESPMedSAMImageSegmenterPreprocessor,
    TiCBackbone,
    TinyViTBackbone,
    ViTMedBackbone,
)
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

ENCODERS = {"tiny_vit": TinyViTBackbone, "tic": TiCBackbone, "vit_med": ViTMedBackbone}
# What other keys of the configuration decide.
_DECIDED = ("num_modalities", "image_shape", "dtype", "name", "kwargs", "args", "self")


def build_segmenter(
    settings, image_size=None, resize_mode=None, precision="float32", gradient_checkpointing=False
):
    """Make the segmenter that a configuration's `model` describes.

    Args:
        settings: `ModelSettings`.
        image_size: (height, width) or None: the preset's, or any.
        resize_mode: `"pad"`, `"stretch"`, `"native"` (any size, nothing is resized), or None: the
            preset's, or `"pad"`.
        precision: name of a `keras.DTypePolicy`.
        gradient_checkpointing: bool. Keep the inputs of the encoder's blocks alone for the
            backward pass, and compute what is within again.

    Returns:
        `ESPMedSAMImageSegmenter`.

    Raises:
        InputError: for an argument of the encoder that it does not have or cannot take, or a
            preset that cannot be loaded.

    Source: ours.
    """
    with rematerialized() if gradient_checkpointing else contextlib.nullcontext():
        if settings.preset is not None:
            segmenter = _from_preset(settings, image_size, precision)
        else:
            segmenter = _from_encoder(settings, image_size, precision)
    converter = segmenter.preprocessor.image_converter
    if resize_mode in ("pad", "stretch"):
        converter.resize_mode = resize_mode
    if resize_mode == "native":
        converter.image_size = None
    elif image_size is not None:
        converter.image_size = tuple(image_size)
    return segmenter


def rematerialized():
    """A scope in which the blocks of encoders are made with gradient checkpointing.

    By their names, and not all layers: of layers within layers each would compute what is inside
    once more.

    Example:
        >>> with rematerialized():
        ...     encoder = ViTMedBackbone(
        ...         hidden_dim=16, depth=1, num_heads=2, global_indices=(0,), neck_dim=16,
        ...         image_shape=(32, 32, 3))

    Source: gradient checkpointing: Chen et al. (arXiv 1604.06174); by `keras.RematScope`.
    """
    blocks = [f"block_{i}" for i in range(100)]
    blocks += [f"stage_{stage}_block_{i}" for stage in range(10) for i in range(100)]
    return keras.RematScope(mode="list_of_layers", layer_names=blocks)


def with_position_grid(settings, image_size):
    """The same settings, with the position tables of a ViT held for one size of picture.

    Phases of several sizes resize them, so that the weights of one serve the next.

    Args:
        settings: `ModelSettings`.
        image_size: (height, width) of the first phase, or None.

    Source: ours.
    """
    encoder = settings.encoder
    if encoder is None or encoder.kind != "vit_med" or image_size is None:
        return settings
    known = inspect.signature(ViTMedBackbone.__init__).parameters
    patch = encoder.model_extra.get("patch_size", known["patch_size"].default)
    grid = [size // patch for size in image_size]
    encoder = encoder.model_copy(update={"position_grid": grid} | encoder.model_extra)
    return settings.model_copy(update={"encoder": encoder})


def _from_preset(settings, image_size, precision):
    options = {"load_weights": settings.load_weights, "dtype": precision}
    try:
        # Only an encoder that is bound to a size takes one.
        segmenter = ESPMedSAMImageSegmenter.from_preset(settings.preset, **options)
        fixed = getattr(segmenter.backbone.image_encoder, "image_shape", (None,))[:2]
        if image_size is not None and None not in fixed and tuple(fixed) != tuple(image_size):
            backbone = ESPMedSAMBackbone.from_preset(
                settings.preset, image_shape=(*image_size, 3), **options
            )
            segmenter = ESPMedSAMImageSegmenter(backbone, segmenter.preprocessor)
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error
    return segmenter


def _from_encoder(settings, image_size, precision):
    modalities = tuple(settings.modalities or MODALITIES)
    encoder_class = ENCODERS[settings.encoder.kind]
    known = inspect.signature(encoder_class.__init__).parameters
    allowed = [name for name in known if name not in _DECIDED]
    arguments = settings.encoder.model_extra
    for name in arguments:
        if name not in allowed:
            raise InputError(
                f"The configuration has the unknown key model.encoder.{name}"
                f"{did_you_mean(name, allowed)} Known keys of {settings.encoder.kind}: "
                f"{', '.join(allowed)}."
            )
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    if "num_modalities" in known:
        arguments["num_modalities"] = len(modalities)
    if known["image_shape"].default[0] is not None:
        if image_size is None:
            raise InputError(
                f"The encoder {settings.encoder.kind} is made for one size of picture; give the "
                "phase an image_size."
            )
        arguments["image_shape"] = (*image_size, 3)
    try:
        encoder = encoder_class(dtype=precision, **arguments)
        decoder = {} if settings.decoder is None else settings.decoder.model_dump()
        backbone = ESPMedSAMBackbone(encoder, modalities=modalities, dtype=precision, **decoder)
    except (TypeError, ValueError) as error:
        raise InputError(f"The model cannot be made: {error}") from error
    converter = ESPMedSAMImageConverter(normalization=settings.normalization or "imagenet")
    return ESPMedSAMImageSegmenter(backbone, ESPMedSAMImageSegmenterPreprocessor(converter))
