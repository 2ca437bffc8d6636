"""Detect blank images."""

import math

import numpy as np

from keras_espmedsam.imaging.pixels import as_unit_floats

BLANK_MASK = "it has nearly the same brightness everywhere, so its mask means nothing"
"""The notice for a blank image, as the end of a sentence that begins with the image."""

_BLOCKS = 32
_ENOUGH = 500_000
# The emptiest of 5,638 labelled images of six modalities, a dim micrograph, has 0.090.
_LEAST_CONTRAST = 4 / 255


def is_blank(image: np.ndarray) -> bool:
    """Return whether an image has nearly the same colour everywhere, apart from sensor noise.

    The means of about 32 x 32 blocks are compared, so that noise averages out.

    Args:
        image: array `(height, width, channels)` of brightness: uint8, uint16, or floats in [0, 1].

    Returns:
        bool.

    Example:
        >>> noise = np.random.default_rng(0).integers(0, 4, (200, 300, 1)) / 255
        >>> is_blank(noise), is_blank(np.eye(64)[..., None])
        (True, False)
    """
    # For a large image, some rows and columns are enough and much faster.
    step = max(1, math.isqrt(image.shape[0] * image.shape[1] // _ENOUGH))
    image = as_unit_floats(image[::step, ::step])
    sums, counts = image.astype(np.float64), np.ones((1, 1, 1), int)
    for axis in (0, 1):
        length = image.shape[axis]
        starts = np.unique(np.linspace(0, length, min(_BLOCKS, length), endpoint=False).astype(int))
        sums = np.add.reduceat(sums, starts, axis=axis)
        shape = [1, 1, 1]
        shape[axis] = -1
        counts = counts * np.diff([*starts, length]).reshape(shape)
    return bool(np.ptp(sums / counts, axis=(0, 1)).max() < _LEAST_CONTRAST)
