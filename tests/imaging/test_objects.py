import numpy as np
import pytest
from scipy import ndimage

from keras_espmedsam.imaging import bands, objects


def scattered(shape=(23, 31), share=0.4):
    return np.random.default_rng(0).random(shape) < share


def test_components_touch_at_corners_and_are_numbered_in_reading_order():
    mask = scattered()
    labels = objects.connected_components(mask)
    assert labels.dtype == np.int32
    assert ((labels != 0) == mask).all()
    expected, count = ndimage.label(mask, np.ones((3, 3)))
    assert labels.max() == count
    assert len(np.unique(np.stack([labels, expected]).reshape(2, -1), axis=1).T) == count + 1
    seen = labels.ravel()[np.sort(np.unique(labels, return_index=True)[1])]
    assert seen[seen > 0].tolist() == list(range(1, count + 1))


def test_numbers_are_given_by_the_first_pixel_whatever_they_were():
    labels = objects.connected_components(scattered())
    mixed = np.random.default_rng(1).permutation(labels.max() * 3)[: labels.max() + 1] + 1
    mixed[0] = 0
    assert (objects.numbered(mixed[labels]) == labels).all()
    assert (objects.numbered(mixed[labels].astype("uint16")) == labels).all()


def test_without_background_and_without_objects():
    assert objects.numbered(np.array([[5, 5], [2, 5]])).tolist() == [[1, 1], [2, 1]]
    assert objects.numbered(np.zeros((2, 3), int)).tolist() == [[0] * 3] * 2
    for empty in ((0, 3), (3, 0)):
        assert objects.connected_components(np.zeros(empty)).shape == empty
        assert objects.areas(np.zeros(empty, int)).tolist() == [0]


def test_a_large_image_is_processed_in_bands_to_the_same_values(monkeypatch):
    labels = objects.connected_components(scattered())
    mixed = (labels.max() + 1 - labels) * (labels != 0)
    expected = objects.numbered(mixed), objects.areas(mixed)
    assert expected[1].tolist() == np.bincount(mixed.ravel()).tolist()
    monkeypatch.setattr(bands, "BAND_VALUES", 62)
    assert (objects.numbered(mixed) == expected[0]).all()
    assert objects.areas(mixed).tolist() == expected[1].tolist()


def test_holes_are_those_that_scipy_fills():
    for share in (0.5, 0.6, 0.7):
        mask = scattered(share=share)
        holes, count = objects.holes_of(mask)
        assert count > 0
        assert set(np.unique(holes)) == set(range(count + 1))
        assert (mask | (holes != 0) == ndimage.binary_fill_holes(mask)).all()


def test_a_hole_belongs_to_the_object_around_it_alone():
    labels = np.array(
        [
            [1, 1, 1, 2, 2, 2, 2],
            [1, 0, 1, 2, 0, 0, 2],
            [1, 1, 1, 2, 0, 3, 2],
            [0, 0, 0, 2, 2, 2, 2],
        ]
    )
    expected = labels.copy()
    expected[1, 1] = 1
    for dtype in ("int32", "uint16", "int64"):
        found = objects.filled(labels.astype(dtype))
        # The gap in object 2 surrounds object 3, and what lies between two objects is no hole.
        assert (found == expected).all()
        assert found.dtype == dtype
    assert (objects.filled(labels * 0) == 0).all()
    assert (objects.filled(labels * 0 + 3) == 3).all()


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, [1, 2, 3, 4]),
        ({"min_area": 1}, [1, 2, 3, 4]),
        ({"min_area": 2}, [1, 3, 4]),
        ({"min_area": 2.5}, [3, 4]),
        ({"min_area": 9}, []),
        ({"max_objects": 1}, [3]),
        ({"max_objects": 3}, [1, 3, 4]),
        ({"max_objects": 9}, [1, 2, 3, 4]),
        ({"max_objects": 3, "min_area": 3}, [3, 4]),
        ({"max_objects": 1, "min_area": 4}, []),
    ],
)
def test_small_objects_go_and_the_first_of_equal_ones_stays(options, kept):
    labels = np.array([[1, 1, 0, 2, 0, 3, 3, 3, 0, 4, 4, 4]])
    expected = [kept.index(one) + 1 if one in kept else 0 for one in labels[0]]
    found = objects.without_small(labels, **options)
    assert found.tolist() == [expected]
    assert found.dtype == np.int32


def test_nothing_is_the_largest_of_nothing():
    nothing = np.zeros((2, 2), np.int32)
    assert objects.without_small(nothing, max_objects=1).tolist() == nothing.tolist()
