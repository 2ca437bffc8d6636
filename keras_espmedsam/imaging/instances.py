"""Split a mask into its objects."""

import numpy as np
from scipy import ndimage

from keras_espmedsam._shown import shown_value
from keras_espmedsam._startup import require
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.objects import connected_components, filled, numbered, without_small

_KINDS = ("boundary", "core", "components")
# The inner half of an object is a quarter of its area.
_SHARE_OF_A_CORE = 0.25


def split_instances(
    probability: np.ndarray,
    hidden: np.ndarray | None = None,
    kind: str = "components",
    threshold: float = 0.5,
    min_area: float = 0,
    fill_holes: bool = False,
    max_objects: int = 0,
) -> np.ndarray:
    """Split a mask into its objects, each with a number.

    Where a model predicts a hidden map, connected parts of the mask with several objects inside
    are split by a watershed that starts from their cores, or from what is left of them without
    their boundaries. Each pixel of the mask belongs to one object; a part without a core is one
    object. The result is the same on every machine.

    Args:
        probability: `(height, width)` in [0, 1], or the mask itself as bool.
        hidden: `(height, width)` in [0, 1], the probability of a boundary or a core; see
            `keras_espmedsam.imaging.instance_maps.instance_map`. None for connected components.
        kind: what `hidden` shows, `"boundary"` or `"core"`; `"components"` for connected
            components, whatever `hidden` is.
        threshold: in [0, 1]. Pixels with at least this probability are foreground.
        min_area: the least area of an object that stays, in pixels of this mask. A core of less
            than a quarter of it begins no object of its own.
        fill_holes: whether background that is enclosed by one object becomes part of it.
        max_objects: how many objects stay, the largest ones; of equal ones, the first. 0 for any
            number.

    Returns:
        int32 `(height, width)`: 0 for the background, then 1, 2, ... without gaps, by an object's
        first pixel in reading order.

    Raises:
        InputError: for another kind, a hidden map that is missing or of another size, or without
            scikit-image, which the watershed needs.

    Example:
        >>> probability = np.ones((1, 6))
        >>> core = np.array([[0.9, 0.9, 0.1, 0.2, 0.9, 0.9]])
        >>> split_instances(probability, core, "core").tolist()
        [[1, 1, 1, 2, 2, 2]]

    Source: Meyer, Un algorithme optimal pour la ligne de partage des eaux (1991), for the
        watershed from markers.
    """
    probability = np.asarray(probability)
    if kind not in _KINDS:
        raise InputError(
            f"Received the kind {shown_value(kind)}; expected one of {', '.join(_KINDS)}."
        )
    if probability.ndim != 2:
        raise InputError(
            f"Received probabilities of shape {probability.shape}; expected (height, width)."
        )
    if probability.dtype == bool:
        threshold = 0.5
    mask = probability >= np.float32(threshold)
    labels = connected_components(mask)
    if kind != "components":
        inner = _inner(probability, hidden, kind)
        # A low threshold is meant to find faint objects, a high one not to merge the others.
        level = 0.5 if kind == "core" else min(threshold, 0.5)
        labels = _split(labels, inner, level, min_area * _SHARE_OF_A_CORE)
    if fill_holes:
        labels = filled(labels)
    if min_area > 1 or max_objects:
        labels = without_small(labels, min_area, max_objects)
    return labels


def _inner(probability, hidden, kind):
    """Return what is high within objects and low where two of them meet."""
    shape = None if hidden is None else np.shape(hidden)
    if shape != probability.shape:
        raise InputError(
            f"Received a hidden map of shape {shape} for probabilities of {probability.shape}; "
            f"expected the same shape for the kind {kind}."
        )
    hidden = np.asarray(hidden, np.float32)
    # At the outside of an object, its mask begins before its boundary does. There, the difference
    # is still small, where the boundary alone would leave a rim that looks like objects.
    return hidden if kind == "core" else probability.astype(np.float32) - hidden


def _split(parts, inner, level, least):
    """Split the connected components in which several markers lie."""
    segmentation = require("skimage.segmentation", "Splitting touching objects", "instances")
    markers = np.zeros(parts.shape, np.int32)
    # Without corners, because two objects can touch there.
    count = ndimage.label((inner >= np.float32(level)) & (parts != 0), output=markers)
    if least > 1:
        markers = without_small(markers, least)
        count = int(markers.max(initial=0))
    if not count:
        return parts
    owner = np.zeros(count + 1, np.int32)
    owner[markers] = parts
    owner[0] = 0
    several = np.flatnonzero(np.bincount(owner[1:]) > 1)
    places = ndimage.find_objects(parts)
    labels, last = parts.copy(), len(places)
    # One by one, because a component is small where an image is large.
    for number in several:
        place = places[number - 1]
        mask = parts[place] == number
        found = segmentation.watershed(
            -inner[place], np.where(mask, markers[place], 0), connectivity=2, mask=mask
        )
        labels[place][mask] = last + found[mask]
    return numbered(labels)
