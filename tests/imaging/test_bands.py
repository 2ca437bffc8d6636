import numpy as np
import pytest

from keras_espmedsam.imaging import bands as module
from keras_espmedsam.imaging.bands import BAND_VALUES, bands, mapped


@pytest.mark.parametrize("length", [1, 7, 12])
@pytest.mark.parametrize("breadth", [1, 0, BAND_VALUES // 3, BAND_VALUES, 5 * BAND_VALUES])
def test_every_row_lies_in_one_band(length, breadth):
    rows = np.concatenate([np.arange(length)[part] for part in bands(length, breadth)])
    np.testing.assert_array_equal(rows, np.arange(length))
    assert all(
        (part.stop - part.start) * breadth <= max(BAND_VALUES, breadth)
        for part in bands(length, breadth)
    )


def test_nothing_has_no_band():
    assert list(bands(0, 5)) == []


@pytest.mark.parametrize("shape", [(), (0, 3), (50,), (30, 4), (30, 4, 3), (3, 40)])
def test_mapped_is_the_function_of_all_values(monkeypatch, shape):
    monkeypatch.setattr(module, "BAND_VALUES", 16)
    values = np.random.default_rng(0).integers(0, 256, shape).astype("uint8")
    seen = []

    def halved(part):
        seen.append(part.size)
        return part.astype("float32") / 2

    found = mapped(halved, values)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, values / 2)
    assert max(seen) <= max(16, np.prod(shape[1:]))
