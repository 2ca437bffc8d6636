"""Build appearance transforms from a configuration."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import appearance_transforms
from keras_espmedsam.training.data.argument_ranges import arguments_of, is_number

STANDARD = ("fourier_mixing", "illumination", "channel_gain", "gamma", "blur", "noise", "jpeg")
"""The transforms of `appearance: standard`, with their own default arguments."""


def make_appearance(settings):
    """Return the transforms that a configuration describes, in the order of their registry.

    Args:
        settings: `"none"`, `"standard"` (those of `STANDARD`), or dict of a transform's name to
            its arguments, or to its probability alone.

    Returns:
        Tuple of `AppearanceTransform`.

    Raises:
        InputError: for an unknown transform or argument, or a value outside of its range.

    Example:
        >>> make_appearance({"jpeg": {"quality": [40, 90]}, "gamma": 0.5})
        (Gamma(probability=0.5, exponent=(0.7, 1.5)), JPEGCompression(probability=0.2, \
quality=(40, 90)))
    """
    if settings == "none":
        return ()
    if settings == "standard":
        settings = {name: {} for name in STANDARD}
    if not isinstance(settings, dict):
        raise InputError(
            f"Received {settings!r} for the appearance; expected standard, none, or transforms by "
            "name, such as {'gamma': 0.3}."
        )
    for name in settings:
        appearance_transforms.check(name)
    names = [name for name in appearance_transforms.names() if name in settings]
    return tuple(_made(name, settings[name]) for name in names)


def _made(name, given):
    cls = appearance_transforms.load(name)
    if is_number(given):
        given = {"probability": given}
    what = f"the appearance transform {name}"
    return cls(**arguments_of(given, cls, what, {"probability": 0.3}))
