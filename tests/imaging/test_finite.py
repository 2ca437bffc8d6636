"""Whether all numbers are numbers."""

import ml_dtypes
import numpy as np
import pytest

from keras_espmedsam.imaging.finite import all_finite

TYPES = ("float16", "float32", "float64", "complex64", ml_dtypes.bfloat16, ml_dtypes.float8_e5m2)


@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 5, -1])
def test_one_value_anywhere_is_found(dtype, value, place):
    array = np.linspace(-1, 1, 12).astype(dtype)
    assert all_finite(array)
    assert all_finite(array.reshape(3, 4).T)
    array[place] = value
    assert not all_finite(array)
    assert not all_finite(array.reshape(3, 4).T)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64"])
def test_integers_are_finite(dtype):
    assert all_finite(np.ones(3, dtype))


def test_empty_arrays_and_scalars():
    assert all_finite(np.zeros((0, 3)))
    assert all_finite(np.float32(3.4e38))
    assert not all_finite(np.array(np.nan))


def test_the_greatest_numbers_are_finite():
    assert all_finite(np.full(1000, np.finfo("float32").max, "float32"))
