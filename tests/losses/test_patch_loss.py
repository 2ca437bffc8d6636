import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam.losses import PatchLoss


def _cross_entropy(y_true, logits):
    p = expit(logits.astype("float64"))
    return -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p)).mean((1, 2, 3))


def test_one_value_per_image_and_sample_weight(batch):
    each = _cross_entropy(*batch)
    values = keras.ops.convert_to_numpy(PatchLoss(reduction=None)(*batch))
    np.testing.assert_allclose(values, each, rtol=1e-5)
    weights = np.array([0.0, 2.0, 1.0, 0.5], "float32")
    weighted = float(PatchLoss()(*batch, sample_weight=weights))
    assert weighted == pytest.approx((each * weights).mean(), rel=1e-5)


def test_extreme_logits_are_finite(extreme, input_gradient):
    y_true, logits = extreme
    right, wrong = keras.ops.convert_to_numpy(PatchLoss(reduction=None)(y_true, logits))
    assert right == pytest.approx(0, abs=1e-6)
    assert wrong == pytest.approx(1e4, rel=1e-5)
    gradient = input_gradient(lambda x: PatchLoss(reduction="sum")(y_true, x), logits)
    np.testing.assert_allclose(np.abs(gradient[1]), 1 / 15, rtol=1e-4)
    np.testing.assert_allclose(gradient[0], 0, atol=1e-6)


def test_the_value_and_gradient_of_known_patches_are_as_before_bit_for_bit(batch, input_gradient):
    """Of version 0.1.0, which knew no unknown patches."""
    y_true, logits = batch

    def before(y_true, logits):
        y_true = keras.ops.convert_to_tensor(y_true)
        return keras.ops.mean(keras.ops.softplus(logits) - y_true * logits, axis=(1, 2, 3))

    values = keras.ops.convert_to_numpy(PatchLoss(reduction=None)(*batch))
    expected = keras.ops.convert_to_numpy(before(y_true, keras.ops.convert_to_tensor(logits)))
    np.testing.assert_array_equal(values, expected)
    gradient = input_gradient(lambda x: PatchLoss()(y_true, x), logits)
    expected = input_gradient(lambda x: keras.ops.mean(before(y_true, x)), logits)
    np.testing.assert_array_equal(gradient, expected)


def test_unknown_patches_never_enter(batch, input_gradient):
    y_true, logits = (np.repeat(x, 2, axis=-1) for x in batch)
    y_true[0, 1:, :, 0] = y_true[1, :, 2:] = y_true[2, ..., 1] = y_true[3] = -1
    logits[2, ..., 1] = -np.inf
    logits[3] = np.nan
    known = y_true >= 0
    values = keras.ops.convert_to_numpy(PatchLoss(reduction=None)(y_true, logits))
    for image in range(3):
        at = known[image].ravel()
        true, logit = (x[image].ravel()[at].reshape(1, -1, 1, 1) for x in (y_true, logits))
        assert values[image] == pytest.approx(_cross_entropy(true, logit).item(), rel=1e-5)
    assert values[3] == 0
    gradient = input_gradient(lambda x: PatchLoss()(y_true, x), logits)
    assert not gradient[~known].any() and gradient[known].all() and np.isfinite(gradient).all()
    weights = np.random.default_rng(0).random((4, 3, 5)).astype("float32")
    gradient = input_gradient(lambda x: PatchLoss()(y_true, x, weights), logits)
    assert not gradient[~known].any() and np.isfinite(gradient).all()
