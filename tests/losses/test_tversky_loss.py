import keras
import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam.losses import DiceLoss, TverskyLoss


def _tversky(y_true, logits, alpha, beta, smoothing):
    p, axis = expit(logits.astype("float64")), (1, 2, 3)
    hit = (p * y_true).sum(axis)
    index = (hit + smoothing) / (
        hit + alpha * (p * (1 - y_true)).sum(axis) + beta * ((1 - p) * y_true).sum(axis) + smoothing
    )
    return 1 - index


@pytest.mark.parametrize("values", [(0.3, 0.7, 1.0), (0.9, 0.1, 0.2), (1.0, 1.0, 0.0)])
def test_one_value_per_image(values, batch):
    found = keras.ops.convert_to_numpy(TverskyLoss(*values, reduction=None)(*batch))
    np.testing.assert_allclose(found, _tversky(*batch, *values), rtol=1e-5)


def test_with_equal_weights_it_is_dice(batch):
    found = keras.ops.convert_to_numpy(TverskyLoss(0.5, 0.5, smoothing=0.5, reduction=None)(*batch))
    expected = keras.ops.convert_to_numpy(DiceLoss(smoothing=1.0, reduction=None)(*batch))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_extreme_logits_are_finite(extreme, input_gradient):
    y_true, logits = extreme
    right, wrong = keras.ops.convert_to_numpy(TverskyLoss(reduction=None)(y_true, logits))
    assert right == 0
    assert wrong == pytest.approx(1 - 1 / (0.3 * 10 + 0.7 * 5 + 1), rel=1e-5)
    assert np.isfinite(input_gradient(lambda x: TverskyLoss()(y_true, x), logits)).all()


def test_without_smoothing_an_empty_image_rightly_left_empty_costs_nothing():
    empty = np.zeros((1, 3, 5, 1), "float32")
    assert float(TverskyLoss(smoothing=0.0)(empty, empty - 1e4)) == 0
