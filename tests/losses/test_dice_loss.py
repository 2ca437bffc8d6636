import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam.losses import DiceLoss


def _dice(y_true, logits, smoothing):
    losses = []
    for truth, probability in zip(y_true, expit(logits.astype("float64")), strict=True):
        overlap = 2 * (truth * probability).sum() + smoothing
        losses.append(1 - overlap / (truth.sum() + probability.sum() + smoothing))
    return np.array(losses)


@pytest.mark.parametrize("smoothing", [1.0, 0.1])
def test_one_value_per_image(smoothing, batch):
    loss = DiceLoss(smoothing, reduction=None)
    values = keras.ops.convert_to_numpy(loss(*batch))
    np.testing.assert_allclose(values, _dice(*batch, smoothing), atol=1e-6)


def test_reductions_and_sample_weight(batch):
    each = _dice(*batch, 1.0)
    weights = np.array([0.0, 2.0, 1.0, 0.5], "float32")
    assert float(DiceLoss()(*batch)) == pytest.approx(each.mean(), abs=1e-6)
    weighted = float(DiceLoss()(*batch, sample_weight=weights))
    assert weighted == pytest.approx((each * weights).mean(), abs=1e-6)


def test_extreme_logits_are_finite(extreme, input_gradient):
    y_true, logits = extreme
    right, wrong = keras.ops.convert_to_numpy(DiceLoss(reduction=None)(y_true, logits))
    assert right == pytest.approx(0, abs=1e-6)
    # All wrong: 1 - (0 + 1) / (5 + 10 + 1).
    assert wrong == pytest.approx(1 - 1 / 16, abs=1e-6)
    assert np.isfinite(input_gradient(lambda x: DiceLoss()(y_true, x), logits)).all()


def test_an_empty_image_rightly_left_empty_costs_nothing():
    empty = np.zeros((1, 3, 5, 1), "float32")
    assert float(DiceLoss()(empty, empty - 50)) == pytest.approx(0, abs=1e-6)
