import keras
import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt
from scipy.special import expit

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses import BoundaryLoss, DiceLoss


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _boundary(y_true, logits, most):
    values = []
    for truth, logit in zip(y_true[..., 0] == 1, logits[..., 0].astype("float64"), strict=True):
        outside = distance_transform_edt(~truth) if truth.any() else np.full(truth.shape, most)
        inside = distance_transform_edt(truth) if not truth.all() else np.full(truth.shape, most)
        distance = np.where(truth, 1 - np.minimum(inside, most), np.minimum(outside, most))
        values.append((distance * (expit(logit) - truth)).mean())
    return np.array(values)


@pytest.mark.parametrize("most", [32, 2])
def test_one_value_per_image(most, batch):
    found = array(BoundaryLoss(1.0, 0.0, most, reduction=None)(*batch))
    np.testing.assert_allclose(found, _boundary(*batch, most), rtol=1e-5, atol=1e-6)
    both = array(BoundaryLoss(0.2, 0.7, most, reduction=None)(*batch))
    dice = array(DiceLoss(reduction=None)(*batch))
    np.testing.assert_allclose(both, 0.2 * found + 0.7 * dice, rtol=1e-5, atol=1e-7)


def test_its_gradient_is_that_of_the_paper(batch, input_gradient):
    """Which has `mean(distance * p)`, without the constant of what is right."""
    y_true, logits = (x[:1] for x in batch)
    truth = y_true[0, ..., 0] == 1
    distance = np.where(truth, 1 - distance_transform_edt(truth), distance_transform_edt(~truth))
    p = expit(logits.astype("float64"))
    expected = distance[None, ..., None] * p * (1 - p) / p.size
    found = input_gradient(lambda x: BoundaryLoss(1.0, dice_weight=0.0)(y_true, x), logits)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


def test_what_is_farther_costs_more():
    truth = np.zeros((3, 9, 9, 1), "float32")
    truth[:, 3:6, 3:6] = 1
    predicted = truth.copy()
    predicted[0, 3, 6] = predicted[1, 0, 8] = 1
    near, far, right = array(BoundaryLoss(reduction=None)(truth, 100 * predicted - 50))
    assert far > near > 1e-4 and right == pytest.approx(0, abs=1e-6)


def test_in_a_compiled_step(batch, input_gradient):
    """Its loop is a part of the program of TensorFlow and JAX."""
    expected = float(BoundaryLoss()(*batch))
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        spec = tf.TensorSpec((None, None, None, 1))
        graph = tf.function(BoundaryLoss(), input_signature=[spec, spec], autograph=False)
        assert float(graph(*batch)) == pytest.approx(expected, rel=1e-5)
        compiled = tf.function(BoundaryLoss(), jit_compile=True, autograph=False)
        assert float(compiled(*batch)) == pytest.approx(expected, rel=1e-5)
    elif keras.backend.backend() == "jax":
        import jax

        assert float(jax.jit(BoundaryLoss())(*batch)) == pytest.approx(expected, rel=1e-5)
    gradient = input_gradient(lambda x: BoundaryLoss()(batch[0], x), batch[1])
    assert np.isfinite(gradient).all() and gradient.all()


@pytest.mark.parametrize("most", [0, -3, 2.5, "far", None])
def test_a_largest_distance_that_is_none_is_refused(most):
    with pytest.raises(InputError, match=r"max_distance=.*; expected a whole number of pixels"):
        BoundaryLoss(max_distance=most)
