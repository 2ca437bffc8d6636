import numpy as np
import pytest

from keras_espmedsam.distillation.variants import VARIANTS, checked_variants, vary
from keras_espmedsam.errors import InputError

SQUARE = [[1, 2], [3, 4]]
MOVED = {
    "identity": [[1, 2], [3, 4]],
    "hflip": [[2, 1], [4, 3]],
    "vflip": [[3, 4], [1, 2]],
    "rot90": [[2, 4], [1, 3]],
    "rot180": [[4, 3], [2, 1]],
    "rot270": [[3, 1], [4, 2]],
    "transpose": [[1, 3], [2, 4]],
    "antitranspose": [[4, 2], [3, 1]],
}


def test_all_eight_ways():
    assert set(MOVED) == set(VARIANTS)
    for name, expected in MOVED.items():
        pixels = np.array(SQUARE)[..., None] * [1, 10, 100]
        np.testing.assert_array_equal(vary(pixels, name)[..., 0], expected)
        np.testing.assert_array_equal(vary(pixels, name)[..., 2], np.array(expected) * 100)


@pytest.mark.parametrize("variants", [(), ("hflip", "hflip"), ("diagonal",)])
def test_unusable_variants_are_refused(variants):
    with pytest.raises(InputError, match="expected one or more of identity"):
        checked_variants(variants, (32, 32))


def test_turns_need_a_square():
    assert checked_variants("rot90", (32, 32)) == ("rot90",)
    assert checked_variants(("vflip", "rot180"), (32, 64)) == ("vflip", "rot180")
    with pytest.raises(InputError, match="rot90, transpose for a canvas of 32 x 64"):
        checked_variants(("hflip", "rot90", "transpose"), (32, 64))
