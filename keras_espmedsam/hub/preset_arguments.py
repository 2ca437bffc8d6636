"""Check the arguments of `from_preset`, because Keras ignores unknown ones."""

import inspect
import numbers
import os
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.hub.saved_config import read_config

EVERY_MODEL = {"load_weights", "dtype", "image_shape", "name", "trainable"}
"""The arguments of Keras and keras-hub."""
# The longest side in pixels; no model and no medical image is larger.
_LONGEST = 65_536


def check_arguments(
    model_class: type, folder: str | os.PathLike, arguments: dict[str, Any]
) -> None:
    """Reject arguments that would be ignored, or fail deep inside.

    Args:
        model_class: the class whose `from_preset` was called.
        folder: path of the preset.
        arguments: dict.

    Raises:
        InputError: for an unknown name, or an `image_shape` that does not fit the preset.

    Example:
        >>> check_arguments(kem.models.TiCBackbone, "preset", {"dtype": "bfloat16"})
    """
    known = EVERY_MODEL | {
        name
        for one in model_class.__mro__
        if "__init__" in vars(one)
        for name, parameter in inspect.signature(vars(one)["__init__"]).parameters.items()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    }
    for name in arguments:
        if name not in known:
            raise InputError(
                f"Received {shown_value(name)} for {model_class.__name__}.from_preset(), which "
                f"has no such argument{did_you_mean(name, known - {'self'})}"
            )
    if arguments.get("image_shape") is not None:
        _check_image_shape(arguments["image_shape"], _channels(folder))


def _check_image_shape(shape, channels):
    sizes = tuple(shape) if isinstance(shape, list | tuple) else ()
    whole = all(
        size is None or (isinstance(size, numbers.Integral) and 0 < int(size) <= _LONGEST)
        for size in sizes
    )
    if len(sizes) != 3 or not whole or sizes[-1] != channels:
        raise InputError(
            f"Received image_shape={shown_value(shape)}; expected (height, width, {channels}) "
            "in pixels, or None for a height or width that may vary."
        )


def _channels(folder):
    """Return the channels of a saved model's images: 3, except for custom encoders."""
    found: Any = read_config(folder)
    place = ""
    for key in ("config", "image_encoder", "config"):
        found, place = found.get(key), f"{place}.{key}".lstrip(".")
        if found is None:
            break
        if not isinstance(found, dict):
            raise _wrong(folder, place, found, "an object")
        if key == "config" and (shape := found.get("image_shape")) is not None:
            channels = shape[-1] if isinstance(shape, list) and len(shape) == 3 else None
            if not isinstance(channels, int) or not 1 <= channels <= _LONGEST:
                raise _wrong(folder, f"{place}.image_shape", shape, "[height, width, channels]")
            return channels
    return 3


def _wrong(folder, place, found, expected):
    return InputError(
        f"The file config.json of the preset {folder} has {place}: {shown_value(found)}; expected "
        f"{expected}. Install, download or save the preset again."
    )
