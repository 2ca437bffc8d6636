import numpy as np
import pytest
from scipy import ndimage

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.instance_maps import instance_map


def disc(size, radius):
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    return rows**2 + columns**2 <= radius**2


def touching_discs(radius):
    one = disc(2 * radius + 3, radius)[:, 1:-1].astype(np.int32)
    return np.concatenate([one, 2 * one], axis=1)


def test_a_square_has_a_boundary_on_both_sides_and_a_core_of_half_its_depth():
    labels = np.zeros((26, 26), np.uint16)
    labels[3:23, 3:23] = 7
    boundary, core = instance_map(labels, "boundary"), instance_map(labels, "core")
    assert boundary.dtype == core.dtype == np.uint8
    expected = np.zeros((26, 26), np.uint8)
    expected[1:25, 1:25] = 1
    # Outside, corners are round.
    for row in (1, -2):
        for column in (1, -2):
            expected[row, column] = 0
    expected[5:21, 5:21] = 0
    assert (boundary == expected).all()
    # 10 pixels from the edge to the middle: depths 0.5 to 9.5, and 4.75 is half of that.
    expected = np.zeros((26, 26), np.uint8)
    expected[8:18, 8:18] = 1
    assert (core == expected).all()


@pytest.mark.parametrize("radius", [2, 3, 4, 8, 50])
@pytest.mark.parametrize("kind", ["boundary", "core"])
def test_touching_objects_come_apart_at_every_size(radius, kind):
    labels = touching_discs(radius)
    assert ndimage.label(labels > 0)[1] == 1
    found = instance_map(labels, kind) == 1
    parts, count = ndimage.label(found if kind == "core" else (labels > 0) & ~found)
    assert count == 2
    for number in (1, 2):
        assert set(np.unique(parts[labels == number])) - {0} in ({1}, {2})


def test_depths_are_those_of_each_object_by_itself():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.integers(0, 4, (9, 7)), np.ones((6, 6), int))
    labels[rng.random(labels.shape) < 0.02] = 0
    found = instance_map(labels, "core")
    for number in (1, 2, 3):
        inside = labels == number
        # To the next pixel outside, by brute force; the edge is about half a pixel before it.
        own = np.argwhere(inside)
        edge = [
            (y, x)
            for y, x in own
            if any(
                0 <= y + dy < labels.shape[0]
                and 0 <= x + dx < labels.shape[1]
                and not inside[y + dy, x + dx]
                for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]
        away = np.sqrt(((own[:, None] - np.array(edge)[None]) ** 2).sum(-1)).min(1) + 0.5
        assert (found[inside] == (away >= away.max() / 2)).all()
    assert not found[labels == 0].any()


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "uint32", "uint64"])
def test_numbers_of_any_type_and_order_give_the_same(dtype):
    labels = touching_discs(6)
    named = np.array([0, np.iinfo(dtype).max, 3], dtype)[labels]
    for kind in ("boundary", "core"):
        assert (instance_map(labels.astype(dtype), kind) == instance_map(labels, kind)).all()
        assert (instance_map(named, kind) == instance_map(labels, kind)).all()
        flipped = instance_map(np.asfortranarray(named)[::-1], kind)
        assert (flipped[::-1] == instance_map(labels, kind)).all()


def test_negative_numbers_are_objects_too():
    labels = touching_discs(6)
    for kind in ("boundary", "core"):
        assert (instance_map(-labels, kind) == instance_map(labels, kind)).all()


def test_the_border_of_the_image_is_no_edge():
    labels = np.zeros((8, 20), int)
    labels[:, :10] = 1
    assert instance_map(labels, "boundary")[0].tolist() == [0] * 8 + [1] * 4 + [0] * 8
    assert instance_map(labels, "core")[0].tolist() == [1] * 5 + [0] * 15


def test_nothing_one_pixel_and_one_object_everywhere():
    for kind, one in (("boundary", 0), ("core", 1)):
        assert not instance_map(np.zeros((3, 4), int), kind).any()
        assert instance_map(np.zeros((0, 4), int), kind).shape == (0, 4)
        assert (instance_map(np.full((3, 4), 9), kind) == one).all()
        assert (instance_map(np.ones((3, 4), bool), kind) == one).all()
        single = np.zeros((3, 4), int)
        single[1, 1] = 5
        assert instance_map(single, kind)[1, 1] == one


@pytest.mark.parametrize("labels", [np.zeros((2, 2), np.float32), np.zeros((2, 2, 1), int), "a"])
def test_what_is_no_label_image_is_said(labels):
    with pytest.raises(InputError, match=r"expected integers \(height, width\)"):
        instance_map(labels, "core")


def test_an_unknown_kind_is_said():
    with pytest.raises(InputError, match="'components'; expected 'boundary' or 'core'"):
        instance_map(np.zeros((2, 2), int), "components")
