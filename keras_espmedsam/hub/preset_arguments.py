"""What `from_preset` of our models takes beside the preset; Keras ignores what it does not know."""

import inspect
import numbers
import os
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.hub.saved_config import read_config

EVERY_MODEL = {"load_weights", "dtype", "image_shape", "name", "trainable"}
"""Keras' own arguments and keras-hub's."""
# Pixels of a side; no model is built for more, nor is there an image of more in medicine.
_LONGEST = 65_536


def check_arguments(
    model_class: type, folder: str | os.PathLike, arguments: dict[str, Any]
) -> None:
    """Refuse arguments that would be ignored, or fail deep inside.

    Args:
        model_class: the class whose `from_preset` was called.
        folder: path of the preset.
        arguments: dict.

    Raises:
        InputError: for an unknown name, and an `image_shape` that is none of this preset's.

    Example:
        >>> check_arguments(kem.models.TiCBackbone, "preset", {"dtype": "bfloat16"})

    Source: ours.
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
            "in pixels, or None for a height or width that is left open."
        )


def _channels(folder):
    """Of the images that a saved model takes: 3, but for encoders of the user's own."""
    config = read_config(folder).get("config", {})
    for part in (config, (config.get("image_encoder") or {}).get("config", {})):
        if part.get("image_shape"):
            return part["image_shape"][-1]
    return 3
