"""Maps that tell the objects of a mask apart: their edges or their cores."""

import numpy as np
from scipy import ndimage

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

_REACH = 2
"""How far a boundary reaches to either side of an edge, in pixels of the map."""


def instance_map(labels: np.ndarray, kind: str) -> np.ndarray:
    """Return the map that a model learns beside the mask, to tell the mask's objects apart.

    A pixel's depth is its distance to the edge of its own object, where another object or the
    background begins. The border of the image is no edge, because the object goes on there.

    Args:
        labels: `(height, width)` of any integer type, 0 for the background and one number for the
            pixels of each object, in any order; in the size at which the map is used.
        kind: `"core"` for the inner half of each object, where the depth is at least half of the
            object's largest; or `"boundary"` for the two pixels on either side of an edge, except
            those of a core. So each object, however small, has pixels without a boundary.

    Returns:
        uint8 `(height, width)` of 0 and 1. A boundary covers pixels of the background, too.

    Raises:
        InputError: for another kind, or labels that are not integers `(height, width)`.

    Example:
        >>> labels = np.array([[0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0]])
        >>> instance_map(labels, "boundary").tolist()
        [[0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 0]]
        >>> instance_map(labels, "core").tolist()
        [[0, 0, 0, 0, 1, 0, 0, 1, 0, 0, 0, 0]]
    """
    if kind not in ("boundary", "core"):
        raise InputError(f"Received the kind {shown_value(kind)}; expected 'boundary' or 'core'.")
    labels = checked_labels(labels)
    found = np.zeros(labels.shape, np.uint8)
    inside = labels != 0
    if not inside.any():
        return found
    rows, columns = ndimage.find_objects(inside.view(np.uint8))[0]
    rows, columns = (
        slice(max(0, part.start - _REACH), part.stop + _REACH) for part in (rows, columns)
    )
    labels, inside = labels[rows, columns], inside[rows, columns]
    depth = _depths(labels)
    numbers = labels[inside]
    if numbers.min() < 0 or numbers.max() > labels.size:  # Sparse numbers would need large tables.
        numbers = np.unique(numbers, return_inverse=True)[1]
    numbers = numbers.astype(np.intp)
    largest = np.zeros(numbers.max() + 1)
    np.maximum.at(largest, numbers, depth[inside])
    core = inside.copy()
    core[inside] = depth[inside] >= largest[numbers] / 2
    found[rows, columns] = core if kind == "core" else (depth < _REACH) & ~core
    return found


def checked_labels(labels: np.ndarray) -> np.ndarray:
    """Return a label image as an array of integers; a mask of bool is one object.

    Args:
        labels: `(height, width)`.

    Raises:
        InputError: for another shape or type.

    Example:
        >>> checked_labels(np.array([[True, False]])).tolist()
        [[1, 0]]
    """
    labels = np.asarray(labels)
    if labels.dtype == bool:
        labels = labels.view(np.uint8)
    if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.integer):
        raise InputError(
            f"Received labels of shape {labels.shape} and type {labels.dtype}; expected integers "
            "(height, width), 0 for the background and a number for each object."
        )
    return labels


def _depths(labels):
    """Return the distance from each pixel's centre to the edge of its object, for all at once."""
    # The nearest pixel beside an edge belongs to the same object: on the way to one of another
    # object, the own one ends earlier.
    beside = np.zeros(labels.shape, bool)
    below, right = labels[1:] != labels[:-1], labels[:, 1:] != labels[:, :-1]
    beside[1:] |= below
    beside[:-1] |= below
    beside[:, 1:] |= right
    beside[:, :-1] |= right
    if not beside.any():  # One object fills the image.
        return np.full(labels.shape, np.inf)
    return ndimage.distance_transform_edt(~beside) + 0.5
