"""Build a segmenter from a configuration."""

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
from keras_espmedsam.models.esp_medsam.modality_extension import train_only
from keras_espmedsam.registries import image_encoders

# Arguments that other keys of the configuration set.
_DECIDED = ("num_modalities", "image_shape", "dtype", "name", "kwargs", "args", "self")


def build_segmenter(
    settings, image_size=None, resize_mode=None, precision="float32", gradient_checkpointing=False
):
    """Build the segmenter that a configuration's `model` describes.

    Args:
        settings: `ModelSettings`.
        image_size: (height, width), or None for the preset's, or any size.
        resize_mode: `"pad"`, `"stretch"`, `"native"` (any size, nothing is resized), or None for
            the preset's, or `"pad"`.
        precision: name of a `keras.DTypePolicy`.
        gradient_checkpointing: bool. See `checkpoint_gradients`.

    Returns:
        `ESPMedSAMImageSegmenter`.

    Raises:
        InputError: for an encoder argument that is unknown or invalid, or a preset that cannot be
            loaded; for `"native"` with an encoder of one size; for another size or resize mode
            than those of a preset whose masks have to stay; for targets that do not fit.
    """
    if settings.preset is None:
        segmenter = _from_encoder(settings, image_size, precision)
    else:
        segmenter = _from_preset(settings, image_size, precision)
    if settings.preset is not None:
        segmenter = with_added(segmenter, settings)
    if gradient_checkpointing:
        checkpoint_gradients(segmenter.backbone.image_encoder)
    fixed = fixed_size(segmenter)
    if resize_mode == "native" and fixed is not None:
        raise InputError(
            f"Received resize_mode=native for a model whose encoder takes only images of "
            f"{fixed[0]} x {fixed[1]}; expected pad or stretch."
        )
    converter = segmenter.preprocessor.image_converter
    if _keeps_preset(settings):
        # The preset's other masks depend on it.
        own = "native" if converter.image_size is None else converter.resize_mode
        if resize_mode not in (None, own):
            raise InputError(
                f"Received resize_mode={resize_mode} for {_what_is_added(settings)} to the preset "
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
    """Save in a trained model's preset which values were black and white in training.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        intensity: `intensity` of the configuration's `data`; None leaves the preset unchanged.
    """
    if intensity is not None:
        segmenter.preprocessor.image_converter.intensity = intensity


def checkpoint_gradients(encoder):
    """Store only the inputs of an encoder's blocks for the backward pass.

    Everything inside the blocks is then recomputed: less memory, more time, as measured in
    docs/reports/gradient_checkpointing.md (on JAX it is up to XLA, which gains nothing on a CPU).
    Results do not change, and the setting is not saved.

    Args:
        encoder: `ImageEncoder` with such blocks, such as `TinyViTBackbone`.

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
            f"Received gradient_checkpointing for {type(encoder).__name__}, whose blocks do not "
            "support it; expected TinyViTBackbone, TiCBackbone or ViTMedBackbone."
        )
    for block in blocks:
        block.rematerialize = True


def with_position_grid(settings, image_size):
    """Return the settings with a ViT's position tables stored for one image size.

    Phases with other sizes resize the tables, so that the weights of one phase serve the next.

    Args:
        settings: `ModelSettings`.
        image_size: (height, width) of the first phase, or None.
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


def with_added(segmenter, settings):
    """Return a preset's segmenter with what a configuration adds to it.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        settings: `ModelSettings` of a preset.

    Returns:
        `ESPMedSAMImageSegmenter`. With `train_only` or `add_modality`, only what is new is trained.

    Raises:
        InputError: for names that are taken, not allowed or unknown, and relations between targets
            that would change the preset's masks.
    """
    if settings.name_targets:
        segmenter.name_targets(settings.name_targets)
    before = segmenter.target_set
    exclusive, nested = settings.exclusive or {}, settings.nested or {}
    added = getattr(settings, "add_modality", None)  # Distillation adds none.
    if added is not None:
        segmenter = segmenter.add_modality(
            added.name,
            added.init_from,
            targets=added.targets,
            exclusive=exclusive.get(added.name, ()),
            nested=nested.get(added.name),
            instances=(settings.instances or {}).get(added.name),
        )
        return segmenter
    for modality, targets in (settings.add_targets or {}).items():
        segmenter = segmenter.add_target(
            modality,
            [one.name for one in targets],
            init_from={one.name: one.init_from for one in targets},
            adapter_dim={one.name: one.adapter_dim for one in targets},
            exclusive=exclusive.get(modality, ()),
            nested=nested.get(modality),
            freeze=False,
        )
    for modality, kinds in (settings.instances or {}).items():
        for target, kind in kinds.items():
            segmenter = segmenter.add_instances(modality, target, kind, freeze=False)
    if _keeps_preset(settings):
        train_only_new(segmenter, before)
    return segmenter


def train_only_new(segmenter, before):
    """Train only the channels that a segmenter did not have before; freeze everything else.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        before: `Targets`, those that it had.

    Raises:
        InputError: if there is nothing new to train.
    """
    owners = {}
    for number, modality in enumerate(segmenter.modalities):
        old, channels = before.channels(modality), segmenter.target_set.channels(modality)
        new = [i for i, name in enumerate(channels) if name not in old]
        if new:
            owners[number] = new
    if not owners:
        raise InputError(
            "The configuration has train_only: added, but what it adds to the preset has no "
            "weights to train; add targets, or leave it out."
        )
    train_only(segmenter.backbone, owners)


def _keeps_preset(settings):
    """Whether all masks of the preset stay the same; distillation trains everything."""
    return getattr(settings, "keeps_preset", False)


def _what_is_added(settings):
    if settings.add_modality is not None:
        return "a modality that is added"
    return "targets that are added"


def _from_preset(settings, image_size, precision):
    options = {"load_weights": settings.load_weights, "dtype": precision}
    segmenter = load_preset(ESPMedSAMImageSegmenter, settings.preset, **options)
    # Only an encoder of a fixed size takes one.
    fixed = fixed_size(segmenter)
    if image_size is not None and fixed not in (None, tuple(image_size)):
        if _keeps_preset(settings):
            raise InputError(
                f"Received the size {image_size[0]} x {image_size[1]} for "
                f"{_what_is_added(settings)} to the preset {settings.preset}, whose encoder takes "
                f"only images of {fixed[0]} x {fixed[1]}; leave the size out."
            )
        options["image_shape"] = (*image_size, 3)
        backbone = load_preset(ESPMedSAMBackbone, settings.preset, **options)
        segmenter = ESPMedSAMImageSegmenter(backbone, segmenter.preprocessor)
    return segmenter


def fixed_size(segmenter):
    """Return the (height, width) that a segmenter's encoder is fixed to, or None.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
    """
    return as_image_encoder(segmenter.backbone.image_encoder).fixed_size


def load_preset(model_class, preset, **options):
    """Load a preset; if that fails, raise one sentence that says why.

    Args:
        model_class: `ESPMedSAMImageSegmenter` or `ESPMedSAMBackbone`.
        preset: str.
        **options: passed to its `from_preset`.

    Raises:
        InputError: if there is no such preset, or it cannot be loaded.
    """
    try:
        return model_class.from_preset(preset, **options)
    except InputError:
        raise
    # A damaged folder or a failed download can raise almost any exception.
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
    normalization = settings.normalization or "imagenet"
    if normalization != "imagenet" and "normalization" in known:
        raise InputError(
            f"Received normalization={normalization} with the encoder {settings.encoder.kind}, "
            "whose images are normalised as for imagenet and then as its backbone needs; leave it "
            "out, or give encoder.normalization."
        )
    arguments = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments.items()}
    if "num_modalities" in known:
        arguments["num_modalities"] = 0 if settings.controllers is False else len(modalities)
    shape = known["image_shape"].default if "image_shape" in known else None
    # An encoder that takes any size has this default: (None, None, 3).
    if shape is not None and (shape is inspect.Parameter.empty or shape[0] is not None):
        if image_size is None:
            raise InputError(
                f"The encoder {settings.encoder.kind} is built for one image size; give the "
                "phase an image_size."
            )
        arguments["image_shape"] = (*image_size, 3)
    try:
        encoder = encoder_class(dtype=precision, **arguments)
        fixed = as_image_encoder(encoder).fixed_size
        if shape is not None and image_size is not None and fixed not in (None, tuple(image_size)):
            # Some of keras-hub's backbones have a size of their own, which can be another.
            arguments["image_shape"] = (*image_size, 3)
            encoder = encoder_class(dtype=precision, **arguments)
        decoder = {} if settings.decoder is None else settings.decoder.model_dump()
        names = ("targets", "exclusive", "nested", "instances", "target_adapters")
        targets = {name: getattr(settings, name) for name in (*names, "self_prompt_targets")}
        targets = {name: value for name, value in targets.items() if value is not None}
        backbone = ESPMedSAMBackbone(
            encoder, modalities=modalities, dtype=precision, **decoder, **targets
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"The model cannot be built: {error}") from error
    converter = ESPMedSAMImageConverter(normalization=normalization)
    return ESPMedSAMImageSegmenter(backbone, ESPMedSAMImageSegmenterPreprocessor(converter))
