import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses import FocalTverskyLoss, TverskyLoss


def _focal_tversky(y_true, logits, alpha, beta, gamma, smoothing):
    p, axis = expit(logits.astype("float64")), (1, 2, 3)
    hit = (p * y_true).sum(axis) + smoothing
    wrong = alpha * (p * (1 - y_true)).sum(axis) + beta * ((1 - p) * y_true).sum(axis)
    return (1 - hit / (hit + wrong)) ** (1 / gamma)


@pytest.mark.parametrize("values", [(0.3, 0.7, 4 / 3, 1.0), (0.6, 0.4, 3.0, 0.1)])
def test_one_value_per_image(values, batch):
    found = keras.ops.convert_to_numpy(FocalTverskyLoss(*values, reduction=None)(*batch))
    np.testing.assert_allclose(found, _focal_tversky(*batch, *values), rtol=1e-5)


def test_gamma_1_is_the_tversky_loss(batch):
    expected = float(TverskyLoss()(*batch))
    assert float(FocalTverskyLoss(gamma=1.0)(*batch)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [4 / 3, 3.0, 0.5])
def test_extreme_logits_are_finite(gamma, extreme, input_gradient):
    """Where all is right, the power's gradient is infinite."""
    y_true, logits = extreme
    loss = FocalTverskyLoss(gamma=gamma, reduction=None)
    right, wrong = keras.ops.convert_to_numpy(loss(y_true, logits))
    assert right == 0
    assert wrong == pytest.approx((1 - 1 / 7.5) ** (1 / gamma), rel=1e-5)
    for scale in (1, 1e-2, 2e-3, 1e-3):  # Logits of 1e4, 100, 20 and 10.
        gradient = input_gradient(
            lambda x: keras.ops.sum(loss(y_true, x)), (logits * scale).astype("float32")
        )
        assert np.isfinite(gradient).all() and abs(gradient).max() < 10


@pytest.mark.parametrize("gamma", [0, -1.0, float("nan"), "high"])
def test_a_gamma_that_is_not_above_0_is_refused(gamma):
    with pytest.raises(InputError, match=r"gamma=.*; expected a number above 0"):
        FocalTverskyLoss(gamma=gamma)
