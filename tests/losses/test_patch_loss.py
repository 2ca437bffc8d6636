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
