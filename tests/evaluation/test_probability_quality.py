"""Calibration errors by hand, and temperatures that are found again."""

import numpy as np

from keras_espmedsam.evaluation.fit_calibration import fit_calibration, helps, log_losses
from keras_espmedsam.evaluation.pixel_counts import pixel_counts
from keras_espmedsam.evaluation.probability_quality import NUM_BINS, probability_quality


def made(temperature, bias, images=12, pixels=2000):
    """Counts of probabilities that this calibration makes right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, (images, pixels))
    truth = rng.random((images, pixels)) < 1 / (1 + np.exp(-(logits / temperature + bias)))
    rows = zip(1 / (1 + np.exp(-logits)), truth, strict=True)
    return np.stack([pixel_counts(*row) for row in rows])


def test_ece_and_brier_score_are_those_of_the_pixels():
    rng = np.random.default_rng(1)
    probability = rng.random(5000).astype("float32")
    truth = rng.random(5000) < probability**2
    found = probability_quality(pixel_counts(probability, truth)[None])
    bins = np.minimum((probability * NUM_BINS).astype(int), NUM_BINS - 1)
    gaps = [
        abs(probability[bins == i].mean() - truth[bins == i].mean()) * (bins == i).mean()
        for i in range(NUM_BINS)
    ]
    np.testing.assert_allclose(found.ece, sum(gaps), atol=2e-3)
    np.testing.assert_allclose(found.brier, ((probability - truth) ** 2).mean(), atol=2e-3)
    np.testing.assert_allclose(found.share.sum(), 1)


def test_images_count_the_same_whatever_their_size():
    right = pixel_counts(np.float32([0.999] * 1000), np.ones(1000, bool))
    wrong = pixel_counts(np.float32([0.999]), np.zeros(1, bool))
    found = probability_quality(np.stack([right, wrong]))
    np.testing.assert_allclose(found.brier, 0.5, atol=2e-3)
    np.testing.assert_allclose(found.ece, 0.5, atol=2e-3)


def test_what_made_them_wrong_is_found_again():
    counts = made(1.8, -0.7)
    found = fit_calibration(counts, with_bias=True)
    np.testing.assert_allclose([found["temperature"], found["bias"]], [1.8, -0.7], atol=0.06)
    before, after = probability_quality(counts), probability_quality(counts, **found)
    assert after.ece < 0.01 < before.ece and after.brier < before.brier
    alone = fit_calibration(counts)
    assert list(alone) == ["temperature"]
    worse = log_losses(counts, **alone).mean()
    assert log_losses(counts, **found).mean() < worse < log_losses(counts).mean()


def test_only_what_helps_other_images_helps():
    assert helps(made(1.8, 0))
    # One is too sure, one not sure enough: what is right for one is wrong for the other.
    assert not helps(np.concatenate([made(3.0, 0, 1), made(0.4, 0, 1)]))
    assert not helps(made(1.8, 0, 1))


def test_images_that_are_all_right_do_not_make_it_certain():
    sure = pixel_counts(np.float32([0.9] * 9), np.ones(9, bool))[None]
    assert fit_calibration(sure)["temperature"] == 0.1
