"""The objects of a mask as a label image: find them, number them, fill and remove them."""

import numpy as np
from scipy import ndimage

from keras_espmedsam.imaging.bands import bands

# With corners, so that a thin diagonal line is one object; what lies around it is then connected
# along sides alone, or a line could be crossed without being cut.
_WITH_CORNERS = np.ones((3, 3), bool)


def connected_components(mask: np.ndarray) -> np.ndarray:
    """Return the connected parts of a mask, numbered in reading order.

    Pixels that touch at a corner are connected, as by default in scikit-image and OpenCV.

    Args:
        mask: `(height, width)`, nonzero is foreground.

    Returns:
        int32 `(height, width)`, 0 for the background, then 1, 2, ... by the first pixel from the
        top, and from the left in its row.

    Example:
        >>> connected_components(np.array([[0, 1, 0, 1], [1, 0, 0, 1]])).tolist()
        [[0, 1, 0, 2], [1, 0, 0, 2]]
    """
    labels = np.zeros(np.shape(mask), np.int32)
    ndimage.label(mask, _WITH_CORNERS, output=labels)
    return numbered(labels)


def numbered(labels: np.ndarray) -> np.ndarray:
    """Number the objects of a label image from 1, without gaps and in reading order.

    Args:
        labels: `(height, width)` of integers of 0 or more, not far above the number of objects.

    Returns:
        int32 `(height, width)`.

    Example:
        >>> numbered(np.array([[7, 0, 3], [7, 3, 3]])).tolist()
        [[1, 0, 2], [1, 2, 2]]
    """
    if not labels.size:
        return labels.astype(np.int32)
    height, width = labels.shape
    first = np.full(int(labels.max()) + 1, height * width)
    for rows in list(bands(height, width))[::-1]:
        part = labels[rows].ravel()
        start = rows.start * width
        # Of several values for one place the last stays, so the first pixel comes last.
        first[part[::-1]] = np.arange(start + part.size - 1, start - 1, -1)
    first[0] = -1  # Before all others.
    order = np.argsort(first, kind="stable")[: np.count_nonzero(first < height * width)]
    new = np.zeros(first.size, np.int32)
    new[order] = np.arange(order.size)
    return new[labels]


def areas(labels: np.ndarray) -> np.ndarray:
    """Return the number of pixels of each object, and before them that of the background.

    Args:
        labels: `(height, width)` of integers of 0 or more.

    Returns:
        int64 `(largest number + 1,)`.

    Example:
        >>> areas(np.array([[1, 0, 3], [1, 3, 3]])).tolist()
        [1, 2, 0, 3]
    """
    found = np.zeros(int(labels.max(initial=0)) + 1, np.int64)
    for rows in bands(*labels.shape):
        part = np.bincount(labels[rows].ravel())
        found[: part.size] += part
    return found


def filled(labels: np.ndarray) -> np.ndarray:
    """Fill the holes of each object.

    A hole is background that touches one object alone and not the border of the image. A gap
    between several objects stays.

    Args:
        labels: `(height, width)` of integers, 0 for the background.

    Returns:
        The label image with filled holes: a new one, or the same if there are none.

    Example:
        >>> filled(np.array([[4, 4, 4, 5, 5], [4, 0, 4, 0, 5], [4, 4, 4, 5, 5]])).tolist()
        [[4, 4, 4, 5, 5], [4, 4, 4, 0, 5], [4, 4, 4, 5, 5]]
    """
    holes, count = holes_of(labels)
    if not count:
        return labels
    least = np.full(count + 1, np.iinfo(np.int64).max)
    most = np.full(count + 1, np.iinfo(np.int64).min)
    for hole, other in (
        (holes[1:], labels[:-1]),
        (holes[:-1], labels[1:]),
        (holes[:, 1:], labels[:, :-1]),
        (holes[:, :-1], labels[:, 1:]),
    ):
        beside = (hole != 0) & (other != 0)
        np.minimum.at(least, hole[beside], other[beside].astype(np.int64))
        np.maximum.at(most, hole[beside], other[beside].astype(np.int64))
    owner = np.where(least == most, least, 0).astype(labels.dtype)
    owner[0] = 0
    return np.where(holes != 0, owner[holes], labels)


def holes_of(labels: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the enclosed parts of the background, which do not touch the image's border.

    Args:
        labels: mask or label image `(height, width)`.

    Returns:
        int32 `(height, width)` with a number for each hole, 0 elsewhere, and how many there are.

    Example:
        >>> holes, count = holes_of(np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]]))
        >>> holes.tolist(), count
        ([[0, 0, 0], [0, 1, 0], [0, 0, 0]], 1)
    """
    holes = np.zeros(labels.shape, np.int32)
    count = ndimage.label(np.asarray(labels) == 0, output=holes)
    if not count:
        return holes, 0
    new = np.ones(count + 1, np.int32)
    new[0] = 0
    for side in (holes[0], holes[-1], holes[:, 0], holes[:, -1]):
        new[side] = 0
    new = np.cumsum(new, dtype=np.int32) * new
    return new[holes], int(new.max())


def without_small(labels: np.ndarray, min_area: float = 0, max_objects: int = 0) -> np.ndarray:
    """Remove small objects, or all but the largest ones, and number the others anew.

    Args:
        labels: `(height, width)` as from `numbered`.
        min_area: the least area of an object that stays, in pixels.
        max_objects: how many objects stay, the largest ones; of equal ones, the first. 0 for any
            number.

    Returns:
        int32 `(height, width)`, numbered without gaps in the same order.

    Example:
        >>> without_small(np.array([[1, 0, 2, 2, 0, 3, 3, 3]]), min_area=2).tolist()
        [[0, 0, 1, 1, 0, 2, 2, 2]]
    """
    size = areas(labels)
    size[0] = 0
    keep = (size > 0) & (size >= min_area)
    if max_objects:
        # Stable, so that of equal ones the first in reading order comes first.
        keep[np.argsort(-size, kind="stable")[max_objects:]] = False
    return (np.cumsum(keep, dtype=np.int32) * keep)[labels]
