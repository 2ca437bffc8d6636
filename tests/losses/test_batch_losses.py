"""The published forms, over the whole batch, against NumPy."""

import numpy as np
import pytest
from scipy.special import expit

from keras_espmedsam.losses import BatchDiceLoss, MeanFocalLoss, PublishedDiceFocalLoss


def _dice(y_true, logits, smoothing=1.0):
    p = expit(logits.astype("float64"))
    return 1 - (2 * (p * y_true).sum() + smoothing) / (p.sum() + y_true.sum() + smoothing)


def _focal(y_true, logits, alpha=0.8, gamma=2.0):
    p = expit(logits.astype("float64"))
    mean = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p)).mean()
    return alpha * (1 - np.exp(-mean)) ** gamma * mean


def test_dice_and_focal_over_the_whole_batch(batch):
    for smoothing in (1.0, 0.1):
        value = float(BatchDiceLoss(smoothing)(*batch))
        assert value == pytest.approx(_dice(*batch, smoothing), abs=1e-6)
    for alpha, gamma in ((0.8, 2.0), (0.5, 0.5)):
        value = float(MeanFocalLoss(alpha, gamma)(*batch))
        assert value == pytest.approx(_focal(*batch, alpha, gamma), rel=1e-5)


def test_published_sum(batch):
    dice, focal = _dice(*batch), _focal(*batch)
    value = float(PublishedDiceFocalLoss()(*batch))
    assert value == pytest.approx(0.8 * dice + 0.2 * focal, rel=1e-5)
    value = float(PublishedDiceFocalLoss(0.25, 3.0)(*batch))
    assert value == pytest.approx(0.25 * dice + 3.0 * focal, rel=1e-5)


def test_extreme_logits_are_finite(extreme, input_gradient):
    y_true, logits = extreme
    # One image right, one wrong: of 10 true pixels 5 are found and 10 others besides; the mean
    # cross-entropy is 5000.
    value = float(PublishedDiceFocalLoss()(y_true, logits))
    assert value == pytest.approx(0.8 * (1 - 11 / 26) + 0.2 * 0.8 * 5000, rel=1e-5)
    gradient = input_gradient(lambda x: PublishedDiceFocalLoss()(y_true, x), logits)
    np.testing.assert_allclose(np.abs(gradient[1]), 0.2 * 0.8 / 30, rtol=1e-4)
    np.testing.assert_allclose(gradient[0], 0, atol=1e-6)


def test_a_right_batch_costs_nothing_and_has_no_gradient(extreme, input_gradient):
    y_true, logits = (x[:1] for x in extreme)
    assert float(PublishedDiceFocalLoss()(y_true, logits)) == pytest.approx(0, abs=1e-6)
    gradient = input_gradient(lambda x: PublishedDiceFocalLoss()(y_true, x), logits)
    np.testing.assert_allclose(gradient, 0, atol=1e-6)
