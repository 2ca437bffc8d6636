"""Risk control against what the theorems say, exactly where they are exact."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from keras_espmedsam.evaluation.pixel_counts import THRESHOLDS, pixel_counts, positives
from keras_espmedsam.evaluation.risk_control import (
    choose_threshold,
    conformal_risk_control,
    hoeffding_bentkus,
    images_needed,
    learn_then_test,
    losses,
)
from keras_espmedsam.inference.guarantees import GUARANTEES


def made_losses(rng, images, thresholds=40):
    """Losses that grow with the threshold, of easy and of hard images."""
    start = rng.uniform(0, thresholds, (images, 1))
    steepness = rng.uniform(0.05, 1, (images, 1))
    return np.clip((np.arange(thresholds) - start) * steepness / 10, 0, 1)


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("count", [9, 20, 50])
def test_recall_holds_exactly_when_each_image_is_new_in_turn(rate, count):
    # Theorem 1 is this average, whatever the images: all orders of them are as likely.
    for seed in range(20):
        rows = made_losses(np.random.default_rng(seed), count + 1)
        chosen = [
            conformal_risk_control(np.delete(rows, i, axis=0), rate) for i in range(count + 1)
        ]
        if None in chosen:
            assert (count + 1) * rate < 1
            continue
        assert rows[np.arange(count + 1), chosen].mean() <= rate + 1e-9


def test_the_highest_threshold_that_holds_is_chosen():
    # Mean losses 0, 0.1, 0.2 of 9 images: with one more of loss 1, (9 x 0.1 + 1) / 10 = 0.19.
    rows = np.tile([0, 0.1, 0.2], (9, 1))
    assert conformal_risk_control(rows, 0.28) == 2
    assert conformal_risk_control(rows, 0.279) == 1
    assert conformal_risk_control(rows, 0.19) == 1
    assert conformal_risk_control(rows, 0.1) == 0
    assert conformal_risk_control(rows, 0.09) is None


def test_p_values_are_those_of_the_formula():
    count, rate, mean = 30, 0.2, 0.1
    divergence = mean * math.log(mean / rate) + (1 - mean) * math.log((1 - mean) / (1 - rate))
    tail = sum(math.comb(count, k) * rate**k * (1 - rate) ** (count - k) for k in range(4))
    expected = min(math.exp(-count * divergence), math.e * tail)
    np.testing.assert_allclose(hoeffding_bentkus(np.array([mean]), count, rate), expected)
    assert hoeffding_bentkus(np.array([0.2, 0.5, 1]), count, rate).tolist() == [1, 1, 1]


def test_tests_stop_at_the_first_failure():
    rows = np.tile([0.0, 1, 0, 0], (50, 1))
    assert learn_then_test(rows, 0.2, 0.9, np.array([3, 2, 1, 0])).tolist() == [3, 2]
    assert learn_then_test(rows, 0.2, 0.9, np.array([1, 0])).tolist() == []


def test_a_mean_loss_is_too_large_no_more_often_than_said():
    rng = np.random.default_rng(0)
    rate, confidence, splits = 0.2, 0.8, 300
    # Not monotone, and just too large everywhere: each threshold that is accepted is an error.
    wrong = sum(
        learn_then_test(
            (rng.random((40, 5)) < 0.2001).astype(float), rate, confidence, np.arange(5)
        ).size
        > 0
        for _ in range(splits)
    )
    assert wrong <= binom.ppf(0.999, splits, 1 - confidence)
    held = sum(
        learn_then_test(
            (rng.random((40, 5)) < 0.02).astype(float), rate, confidence, np.arange(5)
        ).size
        == 5
        for _ in range(50)
    )
    assert held >= 40


@pytest.mark.parametrize("risk", GUARANTEES)
@pytest.mark.parametrize("rate", [0.05, 0.1, 1 / 3])
def test_as_many_images_as_needed_are_enough_and_one_less_is_not(risk, rate):
    needed = images_needed(risk, rate, 0.9)
    perfect = np.zeros((needed, len(THRESHOLDS)))
    assert choose_threshold(risk, perfect, rate, 0.9) is not None
    assert choose_threshold(risk, perfect[1:], rate, 0.9) is None


def test_losses_by_hand():
    truth = np.array([[True, True, True, False]])
    shown = pixel_counts(np.float32([[0.9, 0.6, 0.2, 0.7]]), truth)
    empty = pixel_counts(np.float32([[0.9, 0.1, 0.1, 0.1]]), np.zeros_like(truth))
    counts = np.stack([shown, empty])
    low, half, high = THRESHOLDS.searchsorted([0.0, 0.5, 0.95])
    recall = losses("recall", counts)
    assert recall.shape == (1, 442)  # Without foreground, nothing can be missed.
    np.testing.assert_allclose(recall[0, [low, half, high]], [0, 1 / 3, 1])
    found = losses("false_discovery_rate", counts)[:, [low, half, high]]
    np.testing.assert_allclose(found, [[1 / 4, 1 / 3, 0], [1, 1, 0]])
    found = losses("dice", counts)[:, [low, half, high]]
    np.testing.assert_allclose(found, [[1 / 7, 1 / 3, 1], [1, 1, 0]])


def test_counts_agree_with_masks_at_every_threshold():
    rng = np.random.default_rng(0)
    probability = rng.beta(0.3, 0.3, (20, 30)).astype("float32")
    probability.flat[: len(THRESHOLDS)] = THRESHOLDS
    truth = rng.random((20, 30)) < probability
    found = positives(pixel_counts(probability, truth))
    for number, threshold in enumerate(THRESHOLDS):
        mask = probability >= threshold
        assert found[:, number].tolist() == [(mask & ~truth).sum(), (mask & truth).sum()]


def test_dice_and_false_discovery_rate_choose_the_best_that_holds():
    rows = np.full((60, len(THRESHOLDS)), 0.6)
    half = int(THRESHOLDS.searchsorted(0.5))
    rows[:, half - 30 : half + 30] = 0.05
    rows[:, half + 7] = 0.01
    assert choose_threshold("dice", rows, 0.2, 0.9) == half + 7
    rows[:, half:] = 0.05
    assert choose_threshold("false_discovery_rate", rows, 0.2, 0.9) == half - 30
