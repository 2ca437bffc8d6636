import numpy as np
import pytest

from keras_espmedsam.imaging.amplitude_mixing import mix_amplitude

RNG = np.random.default_rng(0)
# Not up to black and white, so that nothing is cut off.
IMAGE = RNG.integers(90, 160, (24, 33, 3)).astype("uint8")
OTHER = RNG.integers(110, 150, (24, 33, 3)).astype("uint8")


def spectrum(image):
    return np.fft.fft2(image.astype(float), axes=(0, 1))


def test_it_is_the_mixture_of_the_whole_spectrum():
    """Written out with the complex transform, as the papers do it."""
    share, band = 0.7, 0.2
    one, two = spectrum(IMAGE), spectrum(OTHER)
    rows, columns = (np.abs(np.fft.fftfreq(n)) <= band for n in IMAGE.shape[:2])
    weight = share * (rows[:, None] & columns)[..., None]
    mixed = (1 - weight) * np.abs(one) + weight * np.abs(two)
    expected = np.fft.ifft2(mixed * np.exp(1j * np.angle(one)), axes=(0, 1))
    assert np.abs(expected.imag).max() < 1e-9
    found = mix_amplitude(IMAGE, OTHER, share, band)
    np.testing.assert_allclose(found, expected.real, atol=0.51)


@pytest.mark.parametrize("band", [0.01, 0.5])
def test_nothing_taken_nothing_changed(band):
    np.testing.assert_array_equal(mix_amplitude(IMAGE, OTHER, 0.0, band), IMAGE)
    np.testing.assert_array_equal(mix_amplitude(IMAGE, IMAGE, 1.0, band), IMAGE)


def test_outlines_stay_and_the_mean_is_the_others():
    found = mix_amplitude(IMAGE, OTHER, 1.0, 0.05)
    np.testing.assert_allclose(found.mean((0, 1)), OTHER.mean((0, 1)), atol=0.5)
    high = np.abs(np.fft.fftfreq(24)) > 0.1
    np.testing.assert_allclose(spectrum(found)[high], spectrum(IMAGE)[high], atol=60)


def test_another_size_and_no_contrast():
    found = mix_amplitude(IMAGE, OTHER[:5, :7], 1.0, 0.05)
    np.testing.assert_allclose(found.mean((0, 1)), OTHER[:5, :7].mean((0, 1)), atol=3)
    black = np.zeros((8, 8, 3), "uint8")
    assert mix_amplitude(black, OTHER, 1.0, 0.01).min() >= 110
    assert mix_amplitude(IMAGE, black, 1.0, 0.01).max() < 100
