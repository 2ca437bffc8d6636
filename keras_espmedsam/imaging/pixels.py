"""Convert any image in memory to RGB floats in [0, 1]."""

import numpy as np

from keras_espmedsam.errors import InputError, warn_of_input
from keras_espmedsam.imaging.arrays import ImageLike, as_array
from keras_espmedsam.imaging.brightness import to_brightness
from keras_espmedsam.imaging.intensity import AUTO, Intensity


def to_rgb(image: ImageLike, intensity: Intensity = AUTO) -> np.ndarray:
    """Convert an image of any supported kind to RGB.

    Args:
        image: array `(height, width)`, or `(height, width, c)` with 1 (grey), 2 (grey, alpha), 3
            (RGB) or 4 (RGBA) channels; uint8, uint16, bool, or float in [0, 1]. Or a Pillow image
            or a tensor; see `as_array`. Alpha is dropped.
        intensity: the values shown as black and white: `"auto"`, `"full"` or a pair of values; see
            `keras_espmedsam.imaging.brightness`.

    Returns:
        float32 array `(height, width, 3)` in [0, 1].

    Raises:
        InputError: for any other shape, dtype or value range, channels-first images, and NaN.

    Warns:
        InputWarning: for a uint16 image that uses only part of its range, so that black and white
            are estimated from its values.

    Example:
        >>> to_rgb(np.full((2, 3), 255, "uint8")).shape
        (2, 3, 3)
    """
    brightness = rgb_brightness(image, intensity, stacklevel=3)
    values = as_unit_floats(brightness)
    return np.repeat(values, 3, axis=-1) if values.shape[-1] == 1 else values


def rgb_brightness(
    image: ImageLike, intensity: Intensity = AUTO, stacklevel: int = 2
) -> np.ndarray:
    """Like `to_rgb`, but keep the data type and a single grey channel, to save memory.

    Args:
        image, intensity: see `to_rgb`.
        stacklevel: whose line a warning names; 2 is the caller's.

    Returns:
        array `(height, width, 1)` for a grey image, else `(height, width, 3)`; uint8, uint16 or
        float32 in [0, 1].

    Raises:
        InputError: see `to_rgb`.
    """
    image = as_array(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim == 3 and image.shape[-1] > 4 and image.shape[0] in (1, 2, 3, 4):
        raise InputError(
            f"Received an image of shape {image.shape}, its channels in front; expected (height, "
            "width, channels) with 1 to 4 channels. Move them last: np.moveaxis(image, 0, -1), or "
            "image.permute(1, 2, 0) for a PyTorch tensor."
        )
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4):
        raise InputError(
            f"Received an image of shape {image.shape}; expected (height, width) or "
            "(height, width, channels) with 1 to 4 channels, one image per array. Give a batch of "
            "grey images a channel axis: images[..., None]."
        )
    if 0 in image.shape:
        raise InputError(f"Received an image of shape {image.shape}, which holds no pixels.")
    rgb = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    return _told_brightness(rgb, intensity, stacklevel + 1)


def as_unit_floats(brightness: np.ndarray) -> np.ndarray:
    """Convert brightness of any type to float32 in [0, 1]; float32 is returned unchanged.

    Args:
        brightness: array of any shape; uint8, uint16, or float32 in [0, 1].

    Example:
        >>> as_unit_floats(np.array([0, 51, 255], "uint8")).tolist()
        [0.0, 0.20000000298023224, 1.0]
    """
    if brightness.dtype.kind != "u":
        return brightness
    values = brightness.astype("float32")
    values /= np.float32(np.iinfo(brightness.dtype).max)
    return values


def unit_values(image: ImageLike, intensity: Intensity = AUTO) -> np.ndarray:
    """Convert the values of an image to float32 in [0, 1].

    Args:
        image: array of any shape; uint8, uint16, bool, or float in [0, 1].
        intensity: see `to_rgb`.

    Raises:
        InputError: for another dtype, values out of range, or NaN.

    Warns:
        InputWarning: see `to_rgb`.
    """
    return as_unit_floats(_told_brightness(image, intensity, stacklevel=3))


def _told_brightness(image, intensity, stacklevel):
    brightness, notice = to_brightness(as_array(image), intensity=intensity)
    if notice:
        warn_of_input(
            f"Received a {as_array(image).dtype} image; {notice}. To choose them yourself, give "
            "intensity='full' or (low, high).",
            stacklevel=stacklevel,
        )
    return brightness
