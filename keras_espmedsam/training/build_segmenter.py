"""A segmenter as a configuration describes it."""

import inspect

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.models import (
    ESPMedSAMBackbone,
    ESPMedSAMImageConverter,
    ESPMedSAMImageSegmenter,
    ESPMedSAMImageSegmenterPreprocessor,
    as_image_encoder,
)
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES
from keras_espmedsam.registries import image_encoders

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
        gradient_checkpointing: bool. See `checkpoint_gradients`.

    Returns:
        `ESPMedSAMImageSegmenter`.

    Raises:
        InputError: for an argument of the encoder that it does not have or cannot take, or a
            preset that cannot be loaded; for `"native"` with an encoder of one size; for a modality
            that is added at another size or in another way than the preset resizes images.

    Source: ours.
    """
    if settings.preset is None:
        segmenter = _from_encoder(settings, image_size, precision)
    else:
        segmenter = _from_preset(settings, image_size, precision)
    added = _added(settings)
    if added is not None:
        segmenter = segmenter.add_modality(added.name, init_from=added.init_from)
    if gradient_checkpointing:
        checkpoint_gradients(segmenter.backbone.image_encoder)
    fixed = fixed_size(segmenter)
    if resize_mode == "native" and fixed is not None:
        raise InputError(
            f"Received resize_mode=native for a model whose encoder takes images of {fixed[0]} x "
            f"{fixed[1]} alone; expected pad or stretch."
        )
    converter = segmenter.preprocessor.image_converter
    if added is not None:
        # What the preset's other modalities give depends on it.
        own = "native" if converter.image_size is None else converter.resize_mode
        if resize_mode not in (None, own):
            raise InputError(
                f"Received resize_mode={resize_mode} for a modality that is added to the preset "
                f"{settings.preset}, whose images are resized by {own}; leave it out."
            )
        resize_mode = own
    if resize_mode in ("pad", "stretch"):
        converter.resize_mode = resize_mode
    if resize_mode == "native":
        converter.image_size = None
    elif image_size is not None:
        converter.image_size = tuple(image_size)
    return segmenter


def take_intensity(segmenter, intensity):
    """Let a trained model's preset say what was black and white in its training.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        intensity: `intensity` of the configuration's `data`; None leaves the preset as it is.

    Source: ours.
    """
    if intensity is not None:
        segmenter.preprocessor.image_converter.intensity = intensity


def checkpoint_gradients(encoder):
    """Keep the inputs of an encoder's blocks alone for the backward pass.

    What is within the blocks is computed again then: less memory, more time, as measured in
    docs/gradient_checkpointing.md (on JAX it is up to XLA, which gains nothing on a CPU). Nothing
    else changes, and nothing of it is saved.

    Args:
        encoder: `ImageEncoder` of such blocks, as `TinyViTBackbone`.

    Raises:
        InputError: for an encoder without them.

    Example:
        >>> encoder = ViTMedBackbone(
        ...     hidden_dim=16, depth=2, num_heads=2, global_indices=(1,), neck_dim=16,
        ...     image_shape=(32, 32, 3))
        >>> kem.training.checkpoint_gradients(encoder)
        >>> sum(getattr(layer, "rematerialize", False) for layer in encoder.layers)
        2

    Source: Chen et al., Training deep nets with sublinear memory cost (arXiv 1604.06174).
    """
    blocks = as_image_encoder(encoder).rematerializable_layers()
    if not blocks:
        raise InputError(
            f"Received gradient_checkpointing for {type(encoder).__name__}, whose blocks are not "
            "made for it; expected TinyViTBackbone, TiCBackbone or ViTMedBackbone."
        )
    for block in blocks:
        block.rematerialize = True


def with_position_grid(settings, image_size):
    """The same settings, with the position tables of a ViT held for one size of image.

    Phases of several sizes resize them, so that the weights of one serve the next.

    Args:
        settings: `ModelSettings`.
        image_size: (height, width) of the first phase, or None.

    Source: ours.
    """
    encoder = settings.encoder
    if encoder is None or image_size is None:
        return settings
    known = inspect.signature(image_encoders.load(encoder.kind)).parameters
    if not {"position_grid", "patch_size"} <= set(known):
        return settings
    patch = encoder.model_extra.get("patch_size", known["patch_size"].default)
    grid = [size // patch for size in image_size]
    encoder = encoder.model_copy(update={"position_grid": grid} | encoder.model_extra)
    return settings.model_copy(update={"encoder": encoder})


def _added(settings):
    """The modality that a preset gets in addition, or None; distillation adds none."""
    return getattr(settings, "add_modality", None)


def _from_preset(settings, image_size, precision):
    options = {"load_weights": settings.load_weights, "dtype": precision}
    segmenter = load_preset(ESPMedSAMImageSegmenter, settings.preset, **options)
    # Only an encoder that is bound to a size takes one.
    fixed = fixed_size(segmenter)
    if image_size is not None and fixed not in (None, tuple(image_size)):
        if _added(settings) is not None:
            raise InputError(
                f"Received the size {image_size[0]} x {image_size[1]} for a modality that is added "
                f"to the preset {settings.preset}, whose encoder takes images of {fixed[0]} x "
                f"{fixed[1]} alone; leave the size out."
            )
        options["image_shape"] = (*image_size, 3)
        backbone = load_preset(ESPMedSAMBackbone, settings.preset, **options)
        segmenter = ESPMedSAMImageSegmenter(backbone, segmenter.preprocessor)
    return segmenter


def fixed_size(segmenter):
    """The (height, width) that a segmenter's encoder is bound to, or None.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.

    Source: ours.
    """
    return as_image_encoder(segmenter.backbone.image_encoder).fixed_size


def load_preset(model_class, preset, **options):
    """Load a preset, and say in a sentence why it cannot be loaded.

    Args:
        model_class: `ESPMedSAMImageSegmenter` or `ESPMedSAMBackbone`.
        preset: str.
        **options: of its `from_preset`.

    Raises:
        InputError: when there is no such preset, or it cannot be loaded.

    Source: ours.
    """
    try:
        return model_class.from_preset(preset, **options)
    except InputError:
        raise
    # A damaged folder or a failed download raises nearly anything.
    except Exception as error:
        reason = str(error).strip().partition("\n")[0].rstrip(".")
        raise InputError(
            f"The preset {preset} cannot be loaded ({type(error).__name__}: {reason}); see "
            "`espmedsam presets` for the built-in ones."
        ) from error


def _from_encoder(settings, image_size, precision):
    modalities = tuple(settings.modalities or MODALITIES)
    encoder_class = image_encoders.load(settings.encoder.kind)
    known = inspect.signature(encoder_class).parameters
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
        arguments["num_modalities"] = 0 if settings.controllers is False else len(modalities)
    shape = known["image_shape"].default if "image_shape" in known else None
    # An encoder that takes any size has none by default: (None, None, 3).
    if shape is not None and (shape is inspect.Parameter.empty or shape[0] is not None):
        if image_size is None:
            raise InputError(
                f"The encoder {settings.encoder.kind} is made for one size of image; give the "
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
