"""What the metrics of masks share."""

from typing import Any

import numpy as np
from scipy import ndimage

from keras_espmedsam.errors import InputError


def both_masks(truth: Any, prediction: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return two masks of one shape as bool.

    Args:
        truth: true mask, any shape, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Raises:
        InputError: when the shapes differ.

    Example:
        >>> both_masks([0, 255], [1.0, 0.0])
        (array([False,  True]), array([ True, False]))
    """
    truth, prediction = np.asarray(truth) != 0, np.asarray(prediction) != 0
    if truth.shape != prediction.shape:
        raise InputError(
            f"Received a prediction of shape {prediction.shape} for a true mask of shape "
            f"{truth.shape}; they must be equal."
        )
    return truth, prediction


def surface(mask: np.ndarray) -> np.ndarray:
    """Return the pixels of a mask that have background, or the edge of the image, next to them.

    Args:
        mask: bool `(height, width)`. Next to a pixel is what is above, below, left or right of it.

    Example:
        >>> surface(np.ones((3, 3), bool)).sum()
        np.int64(8)
    """
    return mask & ~ndimage.binary_erosion(mask)
