import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.polygons import object_polygons, objects_in


def drawn(polygons, shape):
    """Fill polygons along pixel edges: inside is what lies right of an odd number of lines."""
    lines = np.zeros((shape[0], shape[1] + 1), int)
    for polygon in polygons:
        for ring in (polygon.outline, *polygon.holes):
            for (x, y), (next_x, next_y) in zip(ring, ring[1:] + ring[:1], strict=True):
                assert (x == next_x) != (y == next_y)
                if x == next_x:
                    lines[min(y, next_y) : max(y, next_y), x] += 1
    return np.cumsum(lines, axis=1)[:, :-1] % 2 == 1


def signed_area(ring):
    x, y = np.array(ring).T
    return (x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def turns_at_every_corner(ring):
    steps = np.sign(np.diff(np.array(ring + ring[:2]), axis=0))
    return (np.abs(np.diff(steps, axis=0)) == 1).all()


@pytest.mark.parametrize("seed", range(30))
def test_drawing_the_polygons_gives_the_same_pixels(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, rng.integers(1, 14, 2))
    labels[rng.random(labels.shape) < 0.2] = 0
    found = object_polygons(labels)
    assert list(found) == [number for number in (1, 2) if (labels == number).any()]
    for number, polygons in found.items():
        assert (drawn(polygons, labels.shape) == (labels == number)).all()
        area = 0
        for polygon in polygons:
            for ring in (polygon.outline, *polygon.holes):
                assert len(set(ring)) == len(ring)
                assert turns_at_every_corner(ring)
            assert signed_area(polygon.outline) > 0
            assert all(signed_area(hole) < 0 for hole in polygon.holes)
            area += signed_area(polygon.outline) + sum(map(signed_area, polygon.holes))
        assert area == (labels == number).sum()


def test_pixels_that_touch_at_a_corner_are_two_polygons():
    first, second = object_polygons(np.eye(2, dtype=int))[1]
    assert first.outline == [(0, 0), (1, 0), (1, 1), (0, 1)]
    assert second.outline == [(1, 1), (2, 1), (2, 2), (1, 2)]


def test_a_hole_that_touches_the_outline_is_a_hole():
    mask = np.ones((3, 3), bool)
    mask[1, 1] = mask[2, 2] = False
    (polygon,) = object_polygons(mask)[1]
    assert polygon.outline == [(0, 0), (3, 0), (3, 2), (2, 2), (2, 3), (0, 3)]
    assert polygon.holes == [[(1, 1), (1, 2), (2, 2), (2, 1)]]


def test_two_holes_that_touch_are_two():
    mask = np.ones((4, 4), bool)
    mask[1, 1] = mask[2, 2] = False
    (polygon,) = object_polygons(mask)[1]
    assert sorted(map(len, (polygon.outline, *polygon.holes))) == [4, 4, 4]


def test_an_object_in_the_hole_of_another_is_not_part_of_it():
    labels = np.ones((5, 5), np.uint16)
    labels[1:4, 1:4] = 0
    labels[2, 2] = 9
    found = object_polygons(labels)
    assert len(found[1][0].holes) == 1
    assert found[9][0].outline == [(2, 2), (3, 2), (3, 3), (2, 3)]


@pytest.mark.parametrize(
    "dtype", ["uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"]
)
def test_numbers_of_every_type_are_kept(dtype):
    most = np.iinfo(dtype).max
    labels = np.array([[0, most, most], [3, 3, 0]], dtype)
    assert list(object_polygons(labels)) == [3, most]
    assert [(one[0], one[3].sum()) for one in objects_in(labels[:, ::-1])] == [(3, 2), (most, 2)]


def test_an_image_without_objects_and_one_that_is_an_object():
    for labels in (np.zeros((3, 4), int), np.zeros((0, 4), int), np.zeros((3, 4), bool)):
        assert object_polygons(labels) == {}
    for labels in (np.full((3, 4), 7), np.full((3, 4), -1)):
        (polygon,) = object_polygons(labels)[labels[0, 0]]
        assert polygon == ([(0, 0), (4, 0), (4, 3), (0, 3)], [])


def test_probabilities_are_no_labels():
    with pytest.raises(InputError, match="type float64; expected integers"):
        object_polygons(np.ones((2, 2)))
