"""Centre lines and their Dice against SciPy's filters."""

import keras
import numpy as np
import pytest
from scipy import ndimage
from scipy.special import expit

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses import ClDiceLoss, DiceLoss
from keras_espmedsam.losses.cl_dice_loss import soft_skeleton


def array(tensor):
    return keras.ops.convert_to_numpy(tensor)


def _found(mask, iterations, known=None):
    given = (None if x is None else keras.ops.convert_to_tensor(x) for x in (mask, known))
    mask, known = given
    return array(soft_skeleton(mask, iterations, known))


def _eroded(x):
    return np.minimum(ndimage.minimum_filter(x, (3, 1)), ndimage.minimum_filter(x, (1, 3)))


def _skeleton(x, iterations):
    """Of one image, as the authors' code computes it."""
    skeleton = np.maximum(x - ndimage.maximum_filter(_eroded(x), 3), 0)
    for _ in range(iterations):
        x = _eroded(x)
        more = np.maximum(x - ndimage.maximum_filter(_eroded(x), 3), 0)
        skeleton = skeleton + np.maximum(more - skeleton * more, 0)
    return skeleton


def _cl_dice_loss(y_true, logits, iterations, smoothing):
    losses = []
    for truth, p in zip(y_true[..., 0], expit(logits[..., 0].astype("float64")), strict=True):
        line, true_line = _skeleton(p, iterations), _skeleton(truth, iterations)
        precision = ((line * truth).sum() + smoothing) / (line.sum() + smoothing)
        sensitivity = ((true_line * p).sum() + smoothing) / (true_line.sum() + smoothing)
        losses.append(1 - 2 * precision * sensitivity / (precision + sensitivity))
    return np.array(losses)


@pytest.mark.parametrize("iterations", [0, 3])
def test_the_skeleton(iterations):
    x = np.random.default_rng(0).random((2, 11, 7, 1)).astype("float32")
    x[1] = ndimage.gaussian_filter(x[1, ..., 0], 1.5)[..., None] > 0.5
    expected = np.stack([_skeleton(one[..., 0], iterations) for one in x])[..., None]
    np.testing.assert_allclose(_found(x, iterations), expected, atol=1e-6)


def test_the_skeleton_of_a_bar_is_its_middle():
    bar = np.zeros((1, 9, 20, 1), "float32")
    bar[:, 2:7] = 1
    expected = np.zeros_like(bar)
    expected[:, 4] = 1
    np.testing.assert_array_equal(_found(bar, 3), expected)


def test_the_skeleton_of_the_known_pixels_is_that_of_these_alone():
    x = np.random.default_rng(0).random((1, 11, 7, 1)).astype("float32")
    known = np.zeros(x.shape, bool)
    known[:, 3:, :5] = True
    found = _found(x, 3, known)[:, 3:, :5]
    np.testing.assert_allclose(found, _found(x[:, 3:, :5], 3), atol=1e-6)


@pytest.mark.parametrize(("iterations", "smoothing"), [(3, 1.0), (1, 0.1)])
def test_one_value_per_image(iterations, smoothing, batch):
    loss = ClDiceLoss(iterations, 0.0, 1.0, smoothing, reduction=None)
    expected = _cl_dice_loss(*batch, iterations, smoothing)
    np.testing.assert_allclose(array(loss(*batch)), expected, rtol=1e-5, atol=1e-6)
    both = ClDiceLoss(iterations, 0.4, 0.6, smoothing, reduction=None)
    dice = array(DiceLoss(smoothing, reduction=None)(*batch))
    np.testing.assert_allclose(
        array(both(*batch)), 0.4 * dice + 0.6 * expected, rtol=1e-5, atol=1e-6
    )


def test_a_gap_costs_more_than_an_end():
    """Dice alone sees no difference, if as many pixels are missing."""
    vessel = np.zeros((1, 9, 30, 1), "float32")
    vessel[:, 3:6] = 1
    # Of a vessel three wide, a line along its edge is missing, or a gap across it.
    thinner, gap = vessel.copy(), vessel.copy()
    thinner[:, 3, 5:20] = 0
    gap[:, 3:6, 10:15] = 0
    values = [float(ClDiceLoss()(vessel, 100 * x - 50)) for x in (vessel, thinner, gap)]
    dice = [float(DiceLoss()(vessel, 100 * x - 50)) for x in (thinner, gap)]
    assert dice[0] == dice[1]
    assert values[0] == pytest.approx(0, abs=1e-6) and values[1] < values[2]


def test_a_step_down_its_gradient_is_a_step_down(batch, input_gradient):
    y_true, logits = batch
    loss = ClDiceLoss(dice_weight=0.0, cl_dice_weight=1.0)
    gradient = input_gradient(lambda x: loss(y_true, x), logits)
    assert float(loss(y_true, logits - gradient)) < float(loss(y_true, logits))


@pytest.mark.parametrize("iterations", [-1, 2.5, "three"])
def test_iterations_that_are_no_number_are_refused(iterations):
    with pytest.raises(InputError, match=r"iterations=.*; expected a whole number from 0"):
        ClDiceLoss(iterations)
