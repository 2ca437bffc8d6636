"""The images of docs/reports/intensity.md."""

import numpy as np
import pytest

IMAGE = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.fixture(scope="module")
def intensity(load):
    return load("intensity")


@pytest.mark.parametrize(("bits", "largest"), [(8, 255), (10, 1023), (14, 16383), ("x 257", 65535)])
def test_stored(intensity, bits, largest):
    array = intensity.stored(IMAGE, bits, 0, np.random.default_rng(0))
    assert array.dtype == np.uint16
    np.testing.assert_allclose(array / largest, IMAGE / 255, atol=0.5 / largest + 1e-9)


def test_hot_pixels_and_low_bits(intensity):
    random = np.random.default_rng(0)
    assert (intensity.stored(IMAGE, 12, 5, random) == 65535).sum() == 5
    full = intensity.stored(IMAGE, 16, 0, random)
    assert np.abs(full.astype(int) - IMAGE.astype(int) * 257).max() <= 128


def test_dice(intensity):
    mask, truth = np.array([1, 1, 0, 0], bool), np.array([1, 0, 1, 0], bool)
    assert intensity.dice(mask, truth) == 0.5
    assert intensity.dice(mask & False, truth & False) == 1
