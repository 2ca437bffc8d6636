"""Process a large image in bands of rows or columns, to keep temporary arrays small.

For an image of 300 megapixels, each temporary array of floats takes more than a gigabyte. Bands
are also faster: they reuse some megabytes, while the system must clear the memory of a whole image
page by page, which takes longer than the arithmetic.
"""

from collections.abc import Callable, Iterator

import numpy as np

# Values in a band. A quarter to twice as many take equally long; four times as many take twice as
# long.
BAND_VALUES = 2**20


def bands(length: int, breadth: int) -> Iterator[slice]:
    """Yield the slice of rows (or columns) of each band, in order.

    Args:
        length: the number of rows.
        breadth: the number of values in a row.

    Example:
        >>> list(bands(5, 2**19))
        [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, BAND_VALUES // max(1, breadth))
    for start in range(0, length, step):
        yield slice(start, min(start + step, length))


def mapped(function: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Apply an elementwise function, in bands if the array is large.

    Args:
        function: maps an array to one of the same shape and any type.
        values: array of any shape.

    Example:
        >>> mapped(lambda part: part / 2, np.arange(3)).tolist()
        [0.0, 0.5, 1.0]
    """
    if values.size <= BAND_VALUES:
        return function(values)
    out = None
    for part in bands(len(values), values.size // len(values)):
        found = function(values[part])
        if out is None:
            out = np.empty(values.shape, found.dtype)
        out[part] = found
    assert out is not None  # There are values, so there is a band.
    return out
