import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam.losses import FocalLoss


def _focal(y_true, logits, alpha, gamma):
    p = expit(logits.astype("float64"))
    p_t = np.where(y_true == 1, p, 1 - p)
    return (alpha * (1 - p_t) ** gamma * -np.log(p_t)).mean((1, 2, 3))


@pytest.mark.parametrize(("alpha", "gamma"), [(0.8, 2.0), (1.0, 0.0), (0.5, 0.5)])
def test_one_value_per_image(alpha, gamma, batch):
    loss = FocalLoss(alpha, gamma, reduction=None)
    values = keras.ops.convert_to_numpy(loss(*batch))
    np.testing.assert_allclose(values, _focal(*batch, alpha, gamma), rtol=1e-5, atol=1e-7)


def test_without_fading_it_is_the_cross_entropy(batch):
    ours = float(FocalLoss(alpha=1.0, gamma=0.0)(*batch))
    theirs = float(keras.losses.BinaryCrossentropy(from_logits=True)(*batch))
    assert ours == pytest.approx(theirs, rel=1e-5)


def test_reductions_and_sample_weight(batch):
    each = _focal(*batch, 0.8, 2.0)
    weights = np.array([0.0, 2.0, 1.0, 0.5], "float32")
    assert float(FocalLoss()(*batch)) == pytest.approx(each.mean(), rel=1e-5)
    weighted = float(FocalLoss()(*batch, sample_weight=weights))
    assert weighted == pytest.approx((each * weights).mean(), rel=1e-5)


@pytest.mark.parametrize("gamma", [2.0, 1.0, 0.5, 0.0])
def test_extreme_logits_are_finite(gamma, extreme, input_gradient):
    y_true, logits = extreme
    loss = FocalLoss(gamma=gamma, reduction=None)
    right, wrong = keras.ops.convert_to_numpy(loss(y_true, logits))
    assert right == pytest.approx(0, abs=1e-6)
    assert wrong == pytest.approx(0.8 * 1e4, rel=1e-5)
    gradient = input_gradient(lambda x: keras.ops.sum(loss(y_true, x)), logits)
    assert np.isfinite(gradient).all()
    # A wrong logit is pushed back by alpha, spread over the 15 pixels of its image.
    np.testing.assert_allclose(np.abs(gradient[1]), 0.8 / 15, rtol=1e-4)
    np.testing.assert_allclose(gradient[0], 0, atol=1e-6)
