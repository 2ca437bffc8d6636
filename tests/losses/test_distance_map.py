"""Distances against SciPy's exact ones."""

import keras
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from keras_espmedsam.losses.distance_map import signed_distance


def _signed_distance(mask, most):
    """Of one image that has both mask and background."""
    outside, inside = distance_transform_edt(~mask), distance_transform_edt(mask)
    return np.where(mask, 1 - np.minimum(inside, most), np.minimum(outside, most))


@pytest.fixture
def masks():
    """One pixel in a corner, one missing, a disc, scattered pixels."""
    found = np.zeros((4, 17, 26, 1), "float32")
    found[0, 0, -1] = 1
    found[1] = 1
    found[1, 5, 3] = 0
    rows, columns = np.mgrid[:17, :26]
    found[2, ..., 0] = (rows - 8) ** 2 + (columns - 12) ** 2 < 40
    found[3] = np.random.default_rng(0).random(found[3].shape) < 0.05
    return found


@pytest.mark.parametrize("most", [32, 6])
def test_it_is_exact_up_to_the_largest_distance(most, masks):
    """Up to the last bit of a root in float32."""
    found = keras.ops.convert_to_numpy(signed_distance(keras.ops.convert_to_tensor(masks), most))
    expected = np.stack([_signed_distance(one[..., 0] == 1, most) for one in masks])
    np.testing.assert_allclose(found[..., 0], expected, rtol=2e-7)


def test_without_mask_or_background_it_is_the_largest_distance():
    masks = keras.ops.convert_to_tensor(np.stack([np.zeros((4, 5, 1)), np.ones((4, 5, 1))]))
    found = keras.ops.convert_to_numpy(signed_distance(keras.ops.cast(masks, "float32"), 20))
    assert (found[0] == 20).all() and (found[1] == -19).all()


def test_of_the_known_pixels_alone(masks):
    known = np.zeros(masks.shape, bool)
    known[:, 2:11, 5:] = True
    tensors = map(keras.ops.convert_to_tensor, (masks, known))
    masks_tensor, known_tensor = tensors
    found = keras.ops.convert_to_numpy(signed_distance(masks_tensor, 32, known_tensor))
    cropped = signed_distance(keras.ops.convert_to_tensor(masks[:, 2:11, 5:]), 32)
    np.testing.assert_array_equal(found[:, 2:11, 5:], keras.ops.convert_to_numpy(cropped))
