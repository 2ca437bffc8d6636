"""Dice and cross-entropy of exclusive targets, against the softmax of plain NumPy."""

import keras
import numpy as np
import pytest
from scipy.special import expit, log_softmax, logsumexp

from keras_espmedsam.losses import DiceCELoss

SHAPE = (4, 3, 5, 3)


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _segmenter_logits(raw):
    """The logits whose sigmoid is the softmax of `raw` with a background of 0, in float64."""
    background = np.zeros((*raw.shape[:-1], 1))
    others = [
        np.concatenate([background, np.delete(raw, c, axis=-1)], -1) for c in range(raw.shape[-1])
    ]
    return raw - np.stack([logsumexp(x, axis=-1) for x in others], axis=-1)


def _dice_and_cross_entropy(y_true, raw, smoothing=1.0):
    """Both terms per image."""
    log_p = log_softmax(np.concatenate([np.zeros((*raw.shape[:-1], 1)), raw], -1), axis=-1)
    p, axis = np.exp(log_p[..., 1:]), (1, 2)
    truth = np.concatenate([1 - y_true.sum(-1, keepdims=True), y_true], -1)
    overlap = 2 * (p * y_true).sum(axis) + smoothing
    dice = 1 - overlap / (p.sum(axis) + y_true.sum(axis) + smoothing)
    return dice.mean(-1), -(truth * log_p).sum(-1).mean(axis)


@pytest.fixture
def exclusive():
    """Truth of three exclusive targets, and outputs before softmax, some of them large."""
    rng = np.random.default_rng(3)
    y_true = np.eye(4)[rng.integers(0, 4, SHAPE[:3])][..., 1:].astype("float32")
    y_true[2] = 0
    raw = rng.normal(0, 3, SHAPE)
    raw[1] *= 3
    return y_true, raw


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), (0.3, 2.0, 0.1), (1.0, 0.0, 1.0)])
def test_one_value_per_image(weights, exclusive):
    y_true, raw = exclusive
    dice, cross_entropy = _dice_and_cross_entropy(y_true, raw, weights[2])
    loss = DiceCELoss(*weights, reduction=None)
    found = array(loss(y_true, _segmenter_logits(raw).astype("float32")))
    expected = weights[0] * dice + weights[1] * cross_entropy
    np.testing.assert_allclose(found, expected, rtol=2e-4)


def test_its_gradient_is_that_of_softmax(exclusive, input_gradient):
    y_true, raw = exclusive
    y_true, raw = y_true[:1], raw[:1].astype("float32")

    def of_raw(x):
        # As a segmenter makes them.
        ones = [
            x[..., c]
            - keras.ops.logsumexp(
                keras.ops.stack([0 * x[..., 0], *(x[..., d] for d in range(3) if d != c)], -1), -1
            )
            for c in range(3)
        ]
        return keras.ops.sum(DiceCELoss(dice_weight=0.0)(y_true, keras.ops.stack(ones, -1)))

    p = np.exp(log_softmax(np.concatenate([np.zeros((1, 3, 5, 1)), raw], -1), axis=-1))[..., 1:]
    np.testing.assert_allclose(input_gradient(of_raw, raw), (p - y_true) / 15, atol=1e-5)


def test_of_one_channel_it_is_binary(batch):
    y_true, logits = batch
    p = expit(logits.astype("float64"))
    axis = (1, 2, 3)
    dice = 1 - (2 * (p * y_true).sum(axis) + 1) / (p.sum(axis) + y_true.sum(axis) + 1)
    binary = -(y_true * np.log(p) + (1 - y_true) * np.log(1 - p)).mean(axis)
    found = array(DiceCELoss(reduction=None)(*batch))
    np.testing.assert_allclose(found, dice + binary, rtol=1e-5)


# The last four are of no softmax: the probabilities of some pixels exceed 1 together.
@pytest.mark.parametrize(
    "logits",
    [(100, -100), (-100, 100), (-100, -100), (-1e4, -1e4), (1e4, -1e4), (16.6, -16.7),
     (0, 0), (100, 100), (1e4, 1e4), (3, 2)],
)  # fmt: skip
@pytest.mark.parametrize("truth", [(1, 0), (0, 1), (0, 0)])
def test_values_and_gradients_are_finite(logits, truth, input_gradient):
    y_true, x = (np.array(one, "float32").reshape(1, 1, 1, 2) for one in (truth, logits))
    p = expit(x.astype("float64"))
    value = float(DiceCELoss(dice_weight=0.0)(y_true, x))
    gradient = input_gradient(lambda x: DiceCELoss()(y_true, x), x)
    assert np.isfinite(value) and value >= 0 and np.isfinite(gradient).all()
    if sum(truth):
        assert value == pytest.approx(np.logaddexp(0, -x.ravel())[list(truth).index(1)], rel=1e-5)
    else:
        # What is wrong of the background is pushed down, the most probable target at least.
        assert p.max() < 0.01 or gradient.ravel()[np.argmax(x)] > 0.1
        left = expit(-float(x.max())) - expit(float(x.min()))
        if left > 1e-300:
            assert value == pytest.approx(-np.log(left), rel=1e-5, abs=1e-6)


def test_the_smallest_weight_of_a_pixels_channels_counts(exclusive):
    y_true, raw = exclusive
    logits = _segmenter_logits(raw).astype("float32")
    weights = np.ones(SHAPE, "float32")
    weights[:, 2:, :, 1] = 0
    cropped = array(DiceCELoss(reduction=None)(y_true[:, :2], logits[:, :2]))
    for given in (weights, weights.min(-1), weights.min(-1, keepdims=True)):
        found = array(DiceCELoss(reduction=None)(y_true, logits, given))
        np.testing.assert_allclose(found, cropped, rtol=1e-5)
    halves = array(DiceCELoss(reduction=None)(y_true, logits, weights / 2))
    np.testing.assert_allclose(halves, cropped / 2, rtol=1e-5)


def test_unknown_pixels_have_no_gradient(exclusive, input_gradient):
    y_true, raw = exclusive
    logits = _segmenter_logits(raw).astype("float32")
    weights = np.ones(SHAPE[:3], "float32")
    weights[:, 2:] = 0
    weights[3] = 0
    gradient = input_gradient(lambda x: DiceCELoss()(y_true, x, weights), logits)
    assert not gradient[weights == 0].any() and gradient[weights > 0].any()
    assert array(DiceCELoss(reduction=None)(y_true, logits, weights))[3] == 0
