"""The block's order, and how far each mechanism reaches."""

import numpy as np
import pytest

from keras_espmedsam.layers import TiCBlock
from keras_espmedsam.layers.cyclic_shift import DIRECTIONS

SIZE = (40, 36)
PLACE = (21, 14)


def test_attention_convolution_and_mlp_beside_the_adapter(run, draw, ref, randomize):
    x, modalities = draw(2, 5, 7, 8), np.array([2, 0], "int32")
    layer = TiCBlock(2, 3, shift_size=2, mlp_ratio=2, num_modalities=3, adapter_ratio=1.5)
    layer.build(x.shape)
    randomize(layer)
    y = run(layer.shift, ref.layer_norm(x, layer.norm, 1e-5).astype("float32"))
    y = x + run(layer.shift, run(layer.attention, y, modalities), inverse=True)
    y = ref.conv_norm(y, layer.local_conv)
    hidden = ref.gelu(ref.dense(ref.layer_norm(y, layer.mlp.norm, 1e-5), layer.mlp.dense_layers[0]))
    expected = y + ref.dense(hidden, layer.mlp.dense_layers[1])
    expected = expected + run(layer.adapter, y.astype("float32"), modalities)
    np.testing.assert_allclose(run(layer, x, modalities), expected, atol=1e-4)
    tokens = [layer.attention.tokens[1], layer.adapter.adapters[1]]
    assert layer.controller_layers(1) == tokens


def _moved(layer, run, draw):
    """Places of the output that a change of one place of the input moves."""
    x = draw(1, *SIZE, 16)
    changed = x.copy()
    # Not by one number for all channels, which the normalisation would take away.
    changed[:, PLACE[0], PLACE[1]] = draw(16)
    return np.abs(run(layer, changed) - run(layer, x)).max(axis=-1)[0] > 0


def _square(centre, radius):
    marked = np.zeros(SIZE, bool)
    steps = np.arange(-radius, radius + 1)
    rows, columns = ((centre[axis] + steps) % SIZE[axis] for axis in (0, 1))
    marked[np.ix_(rows, columns)] = True
    return marked


def _block(randomize, **options):
    layer = TiCBlock(2, 3, **options)
    layer.build((None, *SIZE, 16))
    return randomize(layer)


@pytest.mark.parametrize("size", [3, 5])
def test_without_mechanisms_only_the_window_moves(size, run, draw, randomize):
    layer = TiCBlock(2, size)
    layer.build((None, *SIZE, 16))
    # The window's radius, and one more of the 3 x 3 convolution.
    expected = _square(PLACE, size // 2 + 1)
    np.testing.assert_array_equal(_moved(randomize(layer), run, draw), expected)


def test_shift_moves_the_places_that_two_directions_lie_apart(run, draw, randomize):
    layer = _block(randomize, shift_size=7)
    expected = np.zeros(SIZE, bool)
    for there in DIRECTIONS:
        for back in DIRECTIONS:
            centre = [PLACE[axis] + 7 * (there[axis] - back[axis]) for axis in (0, 1)]
            expected |= _square(centre, 2)
    moved = _moved(layer, run, draw)
    np.testing.assert_array_equal(moved, expected)
    # 14 steps away, where two stacked 3 x 3 windows and convolutions reach 4.
    assert moved[PLACE[0], PLACE[1] + 14]


def test_pooling_moves_the_cells_around(run, draw, randomize):
    layer = _block(randomize, pool_size=6)
    # Cells (3, 2) and its neighbours, in a 3 x 3 window of cells; one more of the convolution.
    expected = np.zeros(SIZE, bool)
    expected[2 * 6 - 1 : 5 * 6 + 1, 1 * 6 - 1 : 4 * 6 + 1] = True
    np.testing.assert_array_equal(_moved(layer, run, draw), expected)
