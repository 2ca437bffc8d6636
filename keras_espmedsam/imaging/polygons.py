"""The outlines of objects as polygons along the edges of their pixels."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage

from keras_espmedsam.imaging.instance_maps import checked_labels

Ring = list[tuple[int, int]]
"""The corners of a closed line, each as x and y; the first is not repeated at the end."""

# Right, down, left, up; an object lies to the right of its edges, so that outer rings run clockwise
# on the screen and inner ones the other way round.
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))


class Polygon(NamedTuple):
    """One part of an object: its outline and those of its holes.

    Args:
        outline: the outer ring. Its signed area in x and y is positive.
        holes: the inner rings, whose signed area is negative.
    """

    outline: Ring
    holes: list[Ring]


def object_polygons(labels: np.ndarray) -> dict[int, list[Polygon]]:
    """Return the polygons of each object, from which its pixels can be drawn again exactly.

    Corners are at whole numbers: the pixel in column x and row y covers the square from (x, y) to
    (x + 1, y + 1). No ring touches itself. An object has one polygon for each part whose pixels
    are connected along sides.

    Args:
        labels: `(height, width)`, a label image, or a mask of bool.

    Returns:
        dict of each object's number, in ascending order, to its polygons, in reading order.

    Raises:
        InputError: when the labels are not integers `(height, width)`.

    Example:
        >>> object_polygons(np.array([[0, 5, 5], [0, 5, 0]]))
        {5: [Polygon(outline=[(1, 0), (3, 0), (3, 1), (2, 1), (2, 2), (1, 2)], holes=[])]}
    """
    labels = checked_labels(labels)
    found = {}
    for number, rows, columns, inside in objects_in(labels):
        found[number] = _polygons(inside, rows.start, columns.start)
    return found


def objects_in(labels: np.ndarray) -> list[tuple[int, slice, slice, np.ndarray]]:
    """Return the number, rows, columns and cut-out mask of each object, by number.

    Args:
        labels: `(height, width)` of integers, 0 for the background.

    Example:
        >>> number, rows, columns, inside = objects_in(np.array([[0, 0, 0], [0, 7, 7]]))[0]
        >>> number, rows, columns, inside.tolist()
        (7, slice(1, 2, None), slice(1, 3, None), [[True, True]])
    """
    if not labels.size:
        return []
    numbers = None
    if labels.min() < 0 or labels.max() > labels.size:
        numbers, inverse = np.unique(labels, return_inverse=True)
        labels = inverse.reshape(labels.shape) + 1
    # find_objects takes no unsigned integers of 32 bits and more.
    small = labels if labels.dtype.itemsize <= 2 else labels.astype(np.int32, copy=False)
    found = []
    for index, place in enumerate(ndimage.find_objects(small), 1):
        number = index if numbers is None else int(numbers[index - 1])
        if place is not None and number:
            found.append((number, *place, labels[place] == index))
    return found


def _polygons(inside, top, left):
    parts, count = ndimage.label(inside)
    outlines: list[Ring] = [[] for _ in range(count)]
    holes: list[list[Ring]] = [[] for _ in range(count)]
    for part, ring in _rings(parts):
        ring = [(x + left, y + top) for x, y in ring]
        if _doubled_area(ring) > 0:
            outlines[part - 1] = ring
        else:
            holes[part - 1].append(ring)
    return [Polygon(*both) for both in zip(outlines, holes, strict=True)]


def _rings(parts):
    """Yield the part and the corners of each closed line between it and what surrounds it."""
    height, width = parts.shape
    padded = np.pad(parts, 1)
    here = padded[1:-1, 1:-1]
    inside = here != 0
    # Whether an edge in each direction begins at each corner: above, right of, below, left of a
    # pixel.
    starts = np.zeros((4, height + 1, width + 1), bool)
    starts[0, :-1, :-1] = inside & (padded[:-2, 1:-1] != here)
    starts[1, :-1, 1:] = inside & (padded[1:-1, 2:] != here)
    starts[2, 1:, 1:] = inside & (padded[2:, 1:-1] != here)
    starts[3, 1:, :-1] = inside & (padded[1:-1, :-2] != here)
    direction, row, column = np.nonzero(starts)
    # The pixel to the right of each edge.
    owner = parts[row - (direction >= 2), column - ((direction == 1) | (direction == 2))]
    number = np.zeros(starts.shape, np.int64)
    number[starts] = np.arange(row.size)
    steps = np.array(_STEPS)
    next_row, next_column = row + steps[direction, 0], column + steps[direction, 1]
    # Where two pixels of a part meet at a corner alone, turn right, to stay at the same pixel.
    after = (direction + 3) % 4
    for turn in (0, 1):
        other = (direction + turn) % 4
        after = np.where(starts[other, next_row, next_column], other, after)
    following = number[after, next_row, next_column].tolist()
    turns = (after != direction).tolist()
    corners = list(zip(next_column.tolist(), next_row.tolist(), strict=True))
    seen = bytearray(row.size)
    for first in range(row.size):
        if seen[first]:
            continue
        ring, edge = [], first
        while not seen[edge]:
            seen[edge] = 1
            if turns[edge]:
                ring.append(corners[edge])
            edge = following[edge]
        for simple in _without_touching(ring):
            yield int(owner[first]), simple


def _without_touching(ring):
    """Cut a ring that meets itself at a corner into rings that do not."""
    if len(set(ring)) == len(ring):
        yield _from_first(ring)
        return
    line: list[tuple[int, int]] = []
    places: dict[tuple[int, int], int] = {}
    for corner in ring:
        if corner in places:
            start = places[corner]
            for passed in line[start:]:
                del places[passed]
            yield _from_first(line[start:])
            del line[start:]
        places[corner] = len(line)
        line.append(corner)
    yield _from_first(line)


def _from_first(ring):
    """Begin at the first corner in reading order, so that the same ring is written the same."""
    start = min(range(len(ring)), key=lambda i: ring[i][::-1])
    return ring[start:] + ring[:start]


def _doubled_area(ring):
    return sum(
        x * next_y - next_x * y
        for (x, y), (next_x, next_y) in zip(ring, ring[1:] + ring[:1], strict=True)
    )
