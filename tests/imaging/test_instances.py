import sys

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.instance_maps import instance_map
from keras_espmedsam.imaging.instances import split_instances
from keras_espmedsam.imaging.objects import connected_components

KINDS = ("boundary", "core")


def touching(radii=(4, 9, 4), size=40):
    """Discs in a row, each touching the next."""
    rows, columns = np.mgrid[:size, : 2 * sum(radii) + 10]
    labels = np.zeros(rows.shape, np.int32)
    left = 4
    for number, radius in enumerate(radii, 1):
        inside = (rows - size / 2) ** 2 + (columns - left - radius) ** 2 <= radius**2
        labels[inside & (labels == 0)] = number
        left += 2 * radius
    return labels


def same_objects(found, labels):
    pairs = np.unique(np.stack([found, labels]).reshape(2, -1), axis=1)
    return pairs.shape[1] == labels.max() + 1 == found.max() + 1


@pytest.mark.parametrize("kind", KINDS)
def test_touching_objects_are_found_again_but_for_pixels_at_their_edge(kind):
    labels = touching()
    mask = labels > 0
    assert connected_components(mask).max() == 1
    found = split_instances(mask.astype("float32"), instance_map(labels, kind), kind)
    assert found.dtype == np.int32
    assert ((found > 0) == mask).all()
    assert found.max() == 3
    for number in (1, 2, 3):
        here = found == np.bincount(found[labels == number]).argmax()
        either = here | (labels == number)
        assert (here & (labels == number)).sum() > 0.9 * either.sum()


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_map_gives_no_objects_at_the_rim(kind):
    labels = touching((9, 9))
    probability, hidden = (labels > 0).astype(float), instance_map(labels, kind).astype(float)

    def blurred(values):
        for axis in (0, 1):
            padded = np.pad(values, [(2, 2) if one == axis else (0, 0) for one in (0, 1)])
            parts = [np.take(padded, range(i, i + values.shape[axis]), axis) for i in range(5)]
            values = np.mean(parts, axis=0)
        return values

    for threshold in (0.3, 0.5, 0.7):
        found = split_instances(blurred(probability), blurred(hidden), kind, threshold)
        assert found.max() == 2
        assert ((found > 0) == (blurred(probability) >= np.float32(threshold))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_without_a_core_is_an_object(kind):
    labels = np.zeros((10, 20), np.int32)
    labels[2:8, 2:8], labels[2:8, 12:18] = 1, 2
    hidden = instance_map(labels, kind).astype("float32")
    hidden[:, 10:] = kind == "boundary"
    assert (split_instances(labels > 0, hidden, kind) == labels).all()
    hidden[:] = kind == "boundary"
    assert (split_instances(labels > 0, hidden, kind) == labels).all()
    hidden[:] = kind == "core"
    assert (split_instances(labels > 0, hidden, kind) == labels).all()


@pytest.mark.parametrize("kind", KINDS)
def test_parts_that_touch_at_a_corner_alone_are_filled_from_one_core(kind):
    mask = np.zeros((8, 8), bool)
    mask[:4, :4] = mask[4:, 4:] = True
    hidden = np.full(mask.shape, kind == "boundary", float)
    hidden[1, 1] = kind == "core"
    found = split_instances(mask, hidden, kind)
    assert ((found > 0) == mask).all()
    assert found.max() == 1


def test_components_need_no_hidden_map_and_ignore_one():
    mask = touching() > 0
    for hidden in (None, instance_map(touching(), "core")):
        assert split_instances(mask * 0.7, hidden).max() == 1
    assert split_instances(np.zeros((3, 3)), None).max() == 0
    for kind in KINDS:
        assert split_instances(np.zeros((3, 3)), np.ones((3, 3)), kind).max() == 0
    assert split_instances(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_follow_the_reading_order_and_every_run_gives_the_same(kind):
    labels = touching((6, 6, 6, 6))
    rolled = np.concatenate([labels, labels])
    hidden = instance_map(rolled, kind)
    found = split_instances(rolled > 0, hidden, kind)
    firsts = [int(np.flatnonzero(found.ravel() == one)[0]) for one in range(1, found.max() + 1)]
    assert firsts == sorted(firsts)
    assert found.max() == 8
    for _ in range(2):
        assert (split_instances(rolled > 0, hidden, kind) == found).all()
    # What is computed for one component does not depend on the others.
    half = split_instances(rolled[:40] > 0, hidden[:40], kind)
    assert same_objects(found[:40], half)


@pytest.mark.parametrize("kind", KINDS)
def test_holes_are_filled_in_each_object_and_small_ones_go(kind):
    labels = touching((4, 9, 9))
    mask = labels > 0
    hidden = instance_map(labels, kind)
    mask[20, 21] = mask[20, 39] = False
    mask[1, 1] = True
    plain = split_instances(mask, hidden, kind)
    assert plain.max() == 4
    assert ((plain > 0) == mask).all()
    done = split_instances(mask, hidden, kind, min_area=2, fill_holes=True)
    assert ((done > 0) == (labels > 0)).all()
    assert done.max() == 3
    assert split_instances(mask, hidden, kind, min_area=100, fill_holes=True).max() == 2
    largest = split_instances(mask, hidden, kind, max_objects=1)
    assert largest.max() == 1
    assert (largest > 0).sum() == np.bincount(plain.ravel())[1:].max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_speck_of_a_core_splits_no_object_that_small_ones_are_removed_from(kind):
    labels = touching((4, 9))
    hidden = instance_map(labels, kind).astype("float32")
    mask = labels > 0
    hidden[24:27, 20:24] = kind == "boundary"
    hidden[25, 21:23] = kind == "core"  # Two pixels apart from the large object's core.
    assert split_instances(mask, hidden, kind).max() == 3
    found = split_instances(mask, hidden, kind, min_area=12)
    assert found.max() == 2
    assert ((found > 0) == mask).all()


def test_thresholds_include_their_value_and_a_mask_has_none():
    values = np.array([[0.5, 0.49], [0.7, 0.2]], np.float32)
    assert (split_instances(values) > 0).tolist() == [[True, False], [True, False]]
    assert (split_instances(values, threshold=0.7) > 0).sum() == 1
    for threshold in (0, 0.5, 1):
        found = split_instances(values > 0.6, threshold=threshold)
        assert (found > 0).tolist() == [[False, False], [True, False]]


def test_what_cannot_be_split_is_said(monkeypatch):
    values = np.ones((4, 4))
    with pytest.raises(InputError, match="'cores'; expected one of boundary, core, components"):
        split_instances(values, values, "cores")
    with pytest.raises(InputError, match=r"hidden map of shape None for probabilities of \(4, 4\)"):
        split_instances(values, None, "core")
    with pytest.raises(InputError, match=r"hidden map of shape \(4, 3\)"):
        split_instances(values, values[:, :3], "core")
    with pytest.raises(InputError, match=r"\(1, 4, 4\); expected \(height, width\)"):
        split_instances(values[None])
    monkeypatch.setitem(sys.modules, "skimage.segmentation", None)
    assert split_instances(values).max() == 1
    with pytest.raises(InputError, match=r'pip install "keras-espmedsam\[instances\]"'):
        split_instances(values, values, "core")
