"""Decide which values of a mask are foreground, for files and arrays alike."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy import ndimage

from keras_espmedsam.errors import InputError

# Fractions of a soft mask's range: values this close to an end belong to it (JPEG of quality 5
# leaves plateaus at 8 and 247 of 255), and values clearly between both ends.
_END, _BETWEEN = 0.1, (0.2, 0.8)
# The largest fraction of edge pixels in flat areas: at most 0.04 for 1,400 soft versions of real
# masks (JPEG of quality 10 to 95, resized by 0.35 to 8, blurred), but 0.4 and more for label maps
# from the same masks. The same for the middle of the range, where JPEG noise of 4 levels counts as
# one value.
_FLAT_EDGES, _FLAT_MIDDLE, _NOISE = 0.045, 0.01, 4 / 255
# Edges must surround foreground and be a minor part: neither a map of thin objects nor a
# photograph is a soft mask.
_FOREGROUND_PER_MIDDLE, _MIDDLE_PER_PIXEL = 0.25, 0.5
# An anti-aliased or compressed edge has more values than this.
_LABELS = 4
# Rounding, such as in bicubic resizing in float32, may leave [0, 1] by this much.
_ROUNDING = 1e-5
# Compression leaves areas of nearly 0 and nearly 255 in the blocks at an edge (up to 3 levels off
# and 16 pixels wide in WebP), and more values than a map of 20 classes with background and void.
_RESIDUE, _BLOCK, _CLASSES = 3 / 255, 16, 22
# Probabilities this close to 0 or 1 may change slowly without being labels.
_CERTAIN = 0.02


def foreground_scale(arrays: Iterable[Any], received: str = "Received a mask that") -> float:
    """Return the value of foreground in a mask, or in several masks that belong together.

    If there are only 0 and one other value, that value is foreground. More values are soft edges
    (a JPEG, a resized mask, probabilities) if they rise from 0 to the full range, which is 1 for
    floats and 255 or 65535 for integers, in narrow edges. Flat areas of a value in between are
    labels.

    Args:
        arrays: list of `(height, width)` arrays of integers, floats or bool.
        received: the beginning of the error message, before "holds".

    Returns:
        float. The value that `unit_mask` divides by.

    Raises:
        InputError: for several labels, two values without 0, negative values or NaN, because it is
            unknown which of them is foreground.

    Example:
        >>> foreground_scale([np.array([[0, 38]], "uint8")])
        38.0
    """
    arrays = [np.asarray(array) for array in arrays]
    for array in arrays:
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{received} holds values of type {array.dtype}; expected integers, floats or bool."
            )
    arrays = [_rounded(array) for array in arrays]
    values = _values(arrays)
    if not len(values):
        return 1.0
    high = float(values[-1])
    if not np.isfinite([float(values[0]), high]).all():
        raise InputError(
            f"{received} holds NaN or infinite values; replace them, for example with 0."
        )
    if values[0] >= 0 and (len(values) == 1 or (len(values) == 2 and values[0] == 0)):
        return high or 1.0
    full = 1.0 if values.dtype.kind == "f" else 255.0 if high <= 255 else 65535.0
    soft = values[0] >= 0 and full / 2 < high <= full and len(values) > _LABELS
    if not (soft and _has_soft_edges(arrays, full, len(values))):
        raise InputError(
            f"{received} holds {len(values)} different value{'s' * (len(values) > 1)} "
            f"{_range(values)}; expected 0 and 1, or 0 and 255, with other values only at soft "
            "edges. Save the label that you want as a separate mask, or, in a data set, say by "
            "`labels` which target each value stands for."
        )
    return full


def unit_mask(array: Any, scale: float) -> np.ndarray:
    """Scale a mask to floats: 0 is background, 1 is foreground, values between are soft edges.

    Args:
        array: integers, floats or bool.
        scale: from `foreground_scale`.

    Returns:
        float32 in [0, 1], with the array's shape.

    Example:
        >>> unit_mask(np.array([[0, 38]], "uint8"), 38.0).tolist()
        [[0.0, 1.0]]
    """
    return np.clip(np.asarray(array).astype(np.float32) / np.float32(scale), 0, 1)


def mask_values(mask: Any) -> np.ndarray:
    """Convert a mask, or a batch of masks with the same values, to floats in [0, 1].

    Args:
        mask: array `(height, width[, 1])` or `(batch, height, width, 1)` of integers, floats or
            bool; see `foreground_scale`.

    Returns:
        float32 of the same shape, 1 for foreground.

    Raises:
        InputError: for other values, such as a map of several labels.

    Example:
        >>> mask_values(np.array([[0, 255]], "uint8")).tolist()
        [[0.0, 1.0]]
    """
    mask = np.asarray(mask)
    planes = mask[..., 0] if mask.ndim > 2 else mask
    arrays = list(planes) if planes.ndim == 3 else [planes]
    return unit_mask(mask, foreground_scale(arrays, f"Received a mask of dtype {mask.dtype} that"))


def _rounded(array):
    """Round floats that are nearly 0 or 1; convert bool to integers."""
    if array.dtype.kind == "b":
        return array.view(np.uint8)
    if array.dtype.kind != "f":
        return array
    array = np.where(np.abs(array) <= _ROUNDING, 0, array)
    return np.where(np.abs(array - 1) <= _ROUNDING, 1, array)


def _values(arrays):
    """Return the distinct values, sorted."""
    found = []
    for array in arrays:
        if not array.size:
            continue
        if array.dtype in (np.uint8, np.uint16):  # Ten times faster than sorting.
            found.append(np.flatnonzero(np.bincount(array.ravel())).astype(array.dtype))
            continue
        low, high = array.min(), array.max()
        two = ((array == low) | (array == high)).all()
        found.append(np.unique([low, high] if two else np.unique(array)))
    return np.unique(np.concatenate(found)) if found else np.zeros(0)


def _range(values):
    up_to = f"up to {values[-1]:g}"
    return up_to if values[0] == 0 else f"from {values[0]:g} {up_to}"


def _has_soft_edges(arrays, full, count):
    """Return whether the values between both ends form narrow edges rather than areas."""
    levels = all(_are_levels(array, full) for array in arrays)
    # Only 8 bits have JPEG noise; probabilities may change slowly.
    noise = _NOISE * full if levels else _ROUNDING * full
    ends = [_most_common(arrays, 0, _END * full), _most_common(arrays, (1 - _END) * full, full)]
    certain = 0 if levels else _CERTAIN * full
    edges = flat_edges = middle = flat_middle = foreground = pixels = 0
    for array in arrays:
        array = array.astype(np.float32)
        extent = _extent(array)
        edge = np.logical_and.reduce([array != end for end in ends])
        edge &= (array > certain) & (array < full - certain)
        residue = _residue(array, full) if levels and count > _CLASSES else np.False_
        between = (array > _BETWEEN[0] * full) & (array < _BETWEEN[1] * full)
        edges += edge.sum()
        flat_edges += (edge & ~residue & _covered(extent <= (0 if levels else noise))).sum()
        middle += between.sum()
        flat_middle += (between & _covered(extent <= noise)).sum()
        foreground += (array >= _BETWEEN[1] * full).sum()
        pixels += array.size
    return (
        flat_edges <= _FLAT_EDGES * edges
        and flat_middle <= _FLAT_MIDDLE * middle
        and foreground >= _FOREGROUND_PER_MIDDLE * middle
        and middle <= _MIDDLE_PER_PIXEL * pixels
    )


def _residue(array, full):
    """Return compression noise beside an edge: nearly 0 near foreground, and the reverse."""
    side = 2 * _BLOCK + 1
    low, high = array <= _RESIDUE * full, array >= (1 - _RESIDUE) * full
    near_high = ndimage.maximum_filter(high, side, mode="nearest")
    near_low = ndimage.maximum_filter(low, side, mode="nearest")
    return (low & near_high) | (high & near_low)


def _are_levels(array, full):
    """Whether the values are those of 8 bits, whatever their type."""
    levels = array.astype(np.float32) * np.float32(255 / full)
    return bool((np.abs(levels - np.round(levels)) < 1e-2).all())


def _most_common(arrays, low, high):
    values = np.concatenate([array[(array >= low) & (array <= high)] for array in arrays])
    if not len(values):
        return -1
    if values.dtype in (np.uint8, np.uint16):  # ten times faster than sorting
        return np.bincount(values).argmax()
    found, counts = np.unique(values, return_counts=True)
    return found[counts.argmax()]


def _extent(array):
    return ndimage.maximum_filter(array, 3, mode="nearest") - ndimage.minimum_filter(
        array, 3, mode="nearest"
    )


def _covered(centres):
    """Return all pixels of the 3 x 3 areas around the centres."""
    return ndimage.binary_dilation(centres, np.ones((3, 3)))
