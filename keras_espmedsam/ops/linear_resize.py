"""Linear resizing of a table along its first axis, as a matrix made on the host."""

import numpy as np
from scipy import ndimage


def resize_matrix(source, target):
    """Return the matrix that resizes `source` rows to `target`, with half-pixel centres.

    Borders are repeated.

    Args:
        source: int. Rows of the table.
        target: int. Number of rows wanted.

    Returns:
        float32 array `(target, source)`; the identity when both are equal.

    Example:
        >>> resize_matrix(2, 4).tolist()
        [[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]]

    Source: SAM (arXiv 2304.02643), the resizing of its position tables.
    """
    factors = (target / source, 1)
    matrix = ndimage.zoom(np.eye(source), factors, order=1, mode="nearest", grid_mode=True)
    return matrix.astype("float32")
