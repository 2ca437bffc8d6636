"""Check arrays for NaN and infinite values."""

import numpy as np


def all_finite(array: np.ndarray) -> bool:
    """Return whether an array holds neither NaN nor infinite values.

    Args:
        array: array of any shape and numeric type, including bfloat16. Integers are finite.

    Example:
        >>> all_finite(np.array([0.0, 1.0])), all_finite(np.array([0.0, np.nan]))
        (True, False)
    """
    array = np.asarray(array)
    if array.dtype.kind in "biu" or array.size == 0:
        return True
    if array.dtype.kind == "c":
        return bool(np.isfinite(array).all())
    # If there is a NaN, min and max are NaN; this needs no second array.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(array.min()) and np.isfinite(array.max()))
