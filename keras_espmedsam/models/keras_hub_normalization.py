"""How the images of a backbone of keras-hub are normalised, and the step there from ours."""

import keras_hub
import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.image_converter import MEAN, STD

IMAGENET = "imagenet"


def checked_normalization(value):
    """Return `"imagenet"`, or mean and divisor of values from 0 to 255, as two tuples of three.

    Args:
        value: `"imagenet"`, or a pair of numbers or of lists of one number per channel.

    Raises:
        InputError: for anything else.

    Example:
        >>> checked_normalization((127, 128))
        ((127.0, 127.0, 127.0), (128.0, 128.0, 128.0))
        >>> checked_normalization(((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
        'imagenet'
    """
    if isinstance(value, str) and value == IMAGENET:
        return IMAGENET
    try:
        mean, divisor = (np.broadcast_to(np.asarray(one, "float64"), 3) for one in value)
        right = np.isfinite([mean, divisor]).all() and (divisor > 0).all()
    except (TypeError, ValueError):
        right = False
    if isinstance(value, str) or not right:
        raise InputError(
            f"Received the normalization {shown_value(value)} of a backbone; expected 'imagenet', "
            "or mean and divisor of values from 0 to 255, such as (127, 128)."
        )
    if np.allclose([mean, divisor], [MEAN, STD], rtol=1e-4):
        return IMAGENET
    return tuple(mean.tolist()), tuple(divisor.tolist())


def preset_normalization(preset):
    """Return the normalisation that a preset's image converter says, as `checked_normalization`.

    Args:
        preset: name or folder of a preset of keras-hub.

    Raises:
        InputError: for a preset without an image converter.
    """
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(preset)
        scale, offset = (
            np.asarray(default if value is None else value, "float64")
            for value, default in ((converter.scale, 1.0), (converter.offset, 0.0))
        )
        return checked_normalization((-offset / scale, 1 / scale))
    # A backbone without converters, a missing or damaged file, a failed download.
    except Exception as error:
        raise InputError(
            f"The preset {preset} does not say how its images are normalised; give normalization, "
            "as 'imagenet' or as mean and divisor of values from 0 to 255, such as (127, 128)."
        ) from error


def renormalization(normalization):
    """Return scale and offset from images of `"imagenet"` to images of another normalisation.

    Args:
        normalization: mean and divisor, as from `checked_normalization`.

    Returns:
        two lists of a float per channel.
    """
    mean, divisor = (np.asarray(one) for one in normalization)
    return (np.array(STD) / divisor).tolist(), ((np.array(MEAN) - mean) / divisor).tolist()
