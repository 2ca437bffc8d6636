import keras
import numpy as np
import pytest

from keras_espmedsam.losses import DiceFocalLoss, DiceLoss, FocalLoss


def _each(loss, batch):
    return keras.ops.convert_to_numpy(loss(*batch))


@pytest.mark.parametrize("weights", [(0.8, 0.2), (0.25, 3.0)])
def test_weighted_sum_per_image(weights, batch):
    dice, focal = (_each(loss(reduction=None), batch) for loss in (DiceLoss, FocalLoss))
    ours = _each(DiceFocalLoss(*weights, reduction=None), batch)
    np.testing.assert_allclose(ours, weights[0] * dice + weights[1] * focal, rtol=1e-6)


def test_the_papers_weights_by_default(batch):
    assert float(DiceFocalLoss()(*batch)) == float(DiceFocalLoss(0.8, 0.2)(*batch))


def test_by_hand():
    # Logits of zero: p = 1/2 everywhere. Dice 1 - (2*1 + 1) / (2 + 2 + 1) = 0.4; focal
    # 0.8 * (1/2)^2 * ln 2 = 0.138629.
    y_true = np.array([1, 1, 0, 0], "float32").reshape(1, 2, 2, 1)
    value = float(DiceFocalLoss()(y_true, np.zeros_like(y_true)))
    assert value == pytest.approx(0.8 * 0.4 + 0.2 * 0.1386294, abs=1e-6)


def test_sample_weight_and_extreme_logits(batch, extreme):
    each = _each(DiceFocalLoss(reduction=None), batch)
    weights = np.array([0.0, 2.0, 1.0, 0.5], "float32")
    weighted = float(DiceFocalLoss()(*batch, sample_weight=weights))
    assert weighted == pytest.approx((each * weights).mean(), rel=1e-5)
    right, wrong = _each(DiceFocalLoss(reduction=None), extreme)
    assert right == pytest.approx(0, abs=1e-6)
    assert wrong == pytest.approx(0.8 * 15 / 16 + 0.2 * 0.8 * 1e4, rel=1e-5)
