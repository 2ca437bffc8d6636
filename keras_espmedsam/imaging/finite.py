"""Whether all numbers are numbers: NaN is no probability, and below every threshold."""

import numpy as np


def all_finite(array: np.ndarray) -> bool:
    """Whether an array holds neither NaN nor an infinite value.

    Args:
        array: of any shape and type of numbers; bfloat16 and its like, too. Integers are finite.

    Example:
        >>> all_finite(np.array([0.0, 1.0])), all_finite(np.array([0.0, np.nan]))
        (True, False)

    Source: ours.
    """
    array = np.asarray(array)
    if array.dtype.kind in "biu" or array.size == 0:
        return True
    if array.dtype.kind == "c":
        return bool(np.isfinite(array).all())
    # The least and the greatest are NaN where one value is: no second array is made.
    with np.errstate(invalid="ignore"):
        return bool(np.isfinite(array.min()) and np.isfinite(array.max()))
