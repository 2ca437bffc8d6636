"""Each change of appearance beside numbers worked out by hand, or by another formula."""

import numpy as np
import pytest

from keras_espmedsam.training.data.appearance.channel_gain import ChannelGain
from keras_espmedsam.training.data.appearance.fourier_mixing import FourierMixing
from keras_espmedsam.training.data.appearance.gamma import Gamma
from keras_espmedsam.training.data.appearance.gaussian_blur import GaussianBlur
from keras_espmedsam.training.data.appearance.illumination import Illumination
from keras_espmedsam.training.data.appearance.jpeg_compression import JPEGCompression
from keras_espmedsam.training.data.appearance.noise import Noise

LEVELS = np.arange(256, dtype="uint8").reshape(16, 16, 1).repeat(3, axis=-1)
FLAT = np.full((64, 64, 3), 100, "uint8")
COLOURED = FLAT + np.array([0, 20, 40], "uint8")


def rng(seed=0):
    return np.random.default_rng(seed)


def test_gamma_keeps_black_and_white_and_the_order():
    for exponent, middle in ((0.5, 181), (2.0, 64)):
        curve = Gamma(1, (exponent, exponent))(LEVELS, rng())[..., 0].ravel().astype(int)
        assert (curve[0], curve[128], curve[255]) == (0, middle, 255)
        assert (np.diff(curve) >= 0).all()


def test_gamma_is_as_often_brighter_as_darker():
    means = [Gamma(1, (0.5, 2.0))(FLAT, rng(seed)).mean() > 100 for seed in range(200)]
    assert np.mean(means) == pytest.approx(0.5, abs=0.1)


def test_gains_are_one_factor_for_each_channel():
    gains = np.array([ChannelGain(1, 0.2)(COLOURED, rng(seed))[0, 0] for seed in range(200)])
    gains = gains / COLOURED[0, 0]
    assert gains.min() > 0.79 and gains.max() < 1.21
    np.testing.assert_allclose(gains.mean(0), 1, atol=0.03)
    assert np.abs(np.corrcoef(gains.T)[np.triu_indices(3, 1)]).max() < 0.2
    bright = ChannelGain(1, 0.5)(np.full((2, 2, 3), (250, 240, 250), "uint8"), rng(3))
    assert bright.max() <= 255  # Cut off, not wrapped round.


def test_the_light_is_smooth_and_within_its_strength():
    for grid in (2, 3, 5):
        field = Illumination(1, 0.3, grid)(FLAT, rng(grid))[..., 0].astype(int)
        assert field.min() >= 70 and field.max() <= 130
        assert np.ptp(field) > 10
        steps = max(np.abs(np.diff(field, axis=axis)).max() for axis in (0, 1))
        assert steps <= 8


def test_noise_has_its_deviation_and_no_mean():
    noisy = Noise(1, (6, 6))(COLOURED, rng()).astype(int) - COLOURED
    assert noisy.mean() == pytest.approx(0, abs=0.2)
    np.testing.assert_allclose(noisy.std(axis=(0, 1)), 6, rtol=0.05)
    assert abs(np.corrcoef(noisy[..., 0].ravel(), noisy[..., 1].ravel())[0, 1]) < 0.05


def test_a_lower_quality_loses_more():
    image = rng().integers(0, 255, (64, 64, 3)).astype("uint8")
    lost = [
        np.abs(JPEGCompression(1, (quality,) * 2)(image, rng()).astype(int) - image).mean()
        for quality in (95, 60, 20)
    ]
    assert lost[0] < lost[1] < lost[2]


def test_blur_keeps_the_mean_and_evens_out():
    image = rng().integers(0, 255, (64, 64, 3)).astype("uint8")
    deviations = [GaussianBlur(1, (s, s))(image, rng()).std() for s in (0, 1, 3)]
    assert deviations[0] == image.std() > deviations[1] > deviations[2]
    assert GaussianBlur(1, (2, 2))(image, rng()).mean() == pytest.approx(image.mean(), abs=1)


def test_fourier_mixing_draws_its_share_up_to_its_strength():
    means = [
        FourierMixing(1, strength=0.6)(FLAT, rng(seed), lambda _: FLAT[:9] + 100)[..., 0].mean()
        for seed in range(100)
    ]
    assert min(means) >= 100 and max(means) <= 160
    assert np.mean(means) == pytest.approx(130, abs=4)


def test_fourier_mixing_without_another_image_changes_nothing():
    for partner in (None, lambda _: None):
        assert FourierMixing(1)(FLAT, rng(), partner) is FLAT
