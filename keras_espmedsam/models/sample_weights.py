"""Check `sample_weight` of raw images. NumPy only."""

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import as_array


def image_weights(weights, or_else=""):
    """Convert one weight per image, `(batch,)` or `(batch, 1)`, to float32 `(batch,)`.

    Args:
        weights: array, tensor or list.
        or_else: str. Other accepted shapes, for the error.

    Raises:
        InputError: for another shape, and for invalid weights.

    Example:
        >>> image_weights([[2], [0.5]]).tolist()
        [2.0, 0.5]
    """
    values = as_array(weights)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.ndim > 1:
        raise InputError(
            f"Received a sample_weight of shape {values.shape}; expected one per image, (batch,)"
            f"{or_else}."
        )
    return checked_weights(values)


def checked_weights(values):
    """Return an array of weights as float32.

    Raises:
        InputError: for anything but numbers of 0 or more, and for masks of 255.
    """
    if values.dtype.kind not in "biuf":
        raise InputError(f"Received a sample_weight of dtype {values.dtype}; expected numbers.")
    if values.dtype == np.uint8 and values.max(initial=0) == 255:
        raise InputError(
            "Received a sample_weight of uint8 with values up to 255, which would weigh 255 times; "
            "give sample_weight > 0 if it is a mask, or floats."
        )
    weights = values.astype("float32")
    low, high = weights.min(initial=0), weights.max(initial=0)
    if not (low >= 0 and high < np.inf):
        found = "NaN" if np.isnan(weights).any() else f"values from {low:g} to {high:g}"
        raise InputError(
            f"Received a sample_weight with {found}; expected finite numbers of 0 or more."
        )
    return weights
