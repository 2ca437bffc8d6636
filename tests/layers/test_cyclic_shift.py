import numpy as np
import pytest

from keras_espmedsam.layers import MultiDirectionalCyclicShift

DIRECTIONS = [(0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1)]


@pytest.mark.parametrize(("size", "channels"), [((7, 9), 16), ((2, 3), 11)])
def test_groups_are_rolled_in_eight_directions_and_back(size, channels, run, draw):
    x = draw(1, *size, channels)
    layer = MultiDirectionalCyclicShift(3)
    bounds = [channels * i // 8 for i in range(9)]
    expected = np.concatenate(
        [
            np.roll(x[..., bounds[i] : bounds[i + 1]], (3 * dy, 3 * dx), axis=(1, 2))
            for i, (dy, dx) in enumerate(DIRECTIONS)
        ],
        axis=-1,
    )
    shifted = run(layer, x)
    np.testing.assert_array_equal(shifted, expected)
    np.testing.assert_array_equal(run(layer, shifted, inverse=True), x)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="shift_size=0"):
        MultiDirectionalCyclicShift(0)
    with pytest.raises(ValueError, match="7 channels"):
        MultiDirectionalCyclicShift(1).build((None, 4, 4, 7))
