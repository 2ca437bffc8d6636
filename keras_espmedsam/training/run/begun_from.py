"""What the weights of a run begin from, read from its configuration."""

from keras_espmedsam.hub.origins import ENCODER, MODEL, TEACHER, Origin, origins_of
from keras_espmedsam.training.config.model_settings import ModelSettings


def begun_from(settings: ModelSettings, part: str = MODEL) -> list[Origin]:
    """Return the origins of a model: of its preset, or of its encoder's.

    Args:
        settings: `ModelSettings`.
        part: what the model is to the one that is trained.

    Returns:
        List of `Origin`; empty if the model begins with random weights.

    Raises:
        InputError: for a preset whose origins cannot be read.

    Example:
        >>> settings = ModelSettings(encoder={"kind": "keras_hub", "preset": "resnet_18_imagenet"})
        >>> begun_from(settings)[0][:2]
        ('image encoder', 'resnet_18_imagenet')
    """
    if settings.preset is not None:
        return origins_of(settings.preset, part) if settings.load_weights else []
    # Every encoder's arguments are checked by its class; some take a preset.
    encoder = settings.encoder.model_dump() if settings.encoder else {}
    preset = encoder.get("preset")
    if not isinstance(preset, str) or encoder.get("load_weights") is False:
        return []
    return origins_of(preset, ENCODER if part == MODEL else f"{ENCODER} of the {TEACHER}")
