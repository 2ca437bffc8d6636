"""Any picture array to RGB floats in [0, 1]."""

import numpy as np

from keras_espmedsam.errors import InputError

_FULL_SCALE = {np.dtype("uint8"): 255.0, np.dtype("uint16"): 65535.0}


def to_rgb(image):
    """Convert a picture of any supported kind to RGB.

    Args:
        image: array `(height, width)`, or `(height, width, c)` with 1 (grey), 2 (grey, alpha), 3
            (RGB) or 4 (RGBA) channels; uint8, uint16 (full range 0 to 65535), bool, or float in
            [0, 1]. Alpha is dropped.

    Returns:
        float32 array `(height, width, 3)` in [0, 1].

    Raises:
        InputError: for any other shape, dtype or value range, and for NaN.

    Example:
        >>> to_rgb(np.full((2, 3), 255, "uint8")).shape
        (2, 3, 3)

    Source: ours.
    """
    image = np.asarray(image)
    if image.ndim == 2:
        image = image[..., None]
    if image.ndim != 3 or image.shape[-1] not in (1, 2, 3, 4):
        raise InputError(
            f"Received an image of shape {image.shape}; expected (height, width) or "
            "(height, width, channels) with 1 to 4 channels, one image per array."
        )
    if 0 in image.shape:
        raise InputError(f"Received an image of shape {image.shape}, which holds no pixel.")
    rgb = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
    values = unit_values(rgb)
    return np.repeat(values, 3, axis=-1) if rgb.shape[-1] == 1 else values


def unit_values(image):
    """The values of an image, or a batch of them, as float32 in [0, 1].

    Args:
        image: array of any shape; uint8, uint16, bool, or float in [0, 1].

    Raises:
        InputError: for another dtype, values out of range, or NaN.
    """
    image = np.asarray(image)
    # Big-endian values, as TIFF readers give them, are the same numbers.
    scale = _FULL_SCALE.get(image.dtype.newbyteorder("="))
    if scale is not None:
        return image.astype("float32") / np.float32(scale)
    if image.dtype == bool:
        return image.astype("float32")
    if image.dtype.kind != "f":
        raise InputError(
            f"Received an image of dtype {image.dtype}; expected uint8, uint16 (full range), or "
            "floats in [0, 1]. Convert it first."
        )
    values = image.astype("float32")
    low, high = (values.min(), values.max()) if values.size else (0.0, 0.0)
    # NaN fails this comparison as well.
    if not (low >= 0 and high <= 1):
        found = "NaN" if np.isnan(values).any() else f"values from {low:g} to {high:g}"
        raise InputError(
            f"Received a float image with {found}; expected values in [0, 1]. Rescale it first, "
            "or give uint8 or uint16."
        )
    return values
