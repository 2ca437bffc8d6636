import keras
import numpy as np
import pytest

from keras_espmedsam.layers import ParallelAdapter, PositionEmbedding, ViTMedBlock
from keras_espmedsam.layers.parallel_adapter import SCALE

SHAPE = (1, 4, 5, 8)


def mlp(x, layer, ref):
    first, second = layer.dense_layers
    return ref.dense(ref.gelu(ref.dense(x, first)), second)


def adapted(x, layer, ref):
    return SCALE * mlp(mlp(x, layer.common, ref), layer.specific, ref)


def test_block_pads_with_zeros_after_the_norm(run, randomize, draw, ref):
    """Window by window, with the block's own attention, whose numbers its own test checks."""
    block = ViTMedBlock(num_heads=2, window_size=3, mlp_ratio=2, num_tokens=3, adapter=True)
    x = draw(*SHAPE)
    block.build(x.shape)
    randomize(block)
    padded = np.zeros((1, 6, 6, 8), "float32")
    padded[:, :4, :5] = ref.layer_norm(x, block.norm_1, 1e-6)
    corners = [(0, 0), (0, 3), (3, 0), (3, 3)]
    windows = np.concatenate([padded[:, y : y + 3, z : z + 3] for y, z in corners])
    for window, (y, z) in zip(run(block.attention, windows), corners, strict=True):
        padded[0, y : y + 3, z : z + 3] = window
    expected = x + padded[:, :4, :5]
    normed = ref.layer_norm(expected, block.norm_2, 1e-6)
    expected = expected + mlp(normed, block.mlp, ref) + adapted(normed, block.adapter, ref)
    np.testing.assert_allclose(run(block, x), expected, atol=5e-5)


def test_closed_additions_change_nothing(run, randomize, draw, ref):
    block = ViTMedBlock(num_heads=2, num_tokens=3, adapter=True)
    x = draw(*SHAPE)
    block.build(x.shape)
    randomize(block)
    without = run(block, x, controllers=False)
    assert np.abs(run(block, x) - without).max() > 0.1
    block.attention.tokens.bias.assign([-30.0])
    last = block.adapter.specific.dense_layers[-1]
    last.kernel.assign(np.zeros(last.kernel.shape))
    last.bias.assign(np.zeros(last.bias.shape))
    np.testing.assert_allclose(run(block, x), without, atol=1e-5)


@pytest.mark.parametrize("zero_init", [True, False])
def test_adapter_starts_at_zero_if_asked(run, draw, zero_init):
    adapter = ParallelAdapter(zero_init=zero_init)
    x = draw(*SHAPE)
    assert run(adapter, x).any() == (not zero_init)
    assert [tuple(w.shape) for w in adapter.weights if "kernel" in w.path] == [
        (8, 16),
        (16, 8),
        (8, 2),
        (2, 8),
    ]


def test_layers_are_added_or_pretrained():
    block = ViTMedBlock(num_heads=2, window_size=3, num_tokens=3, adapter=True)
    block.build(SHAPE)
    parts = [*block.adapter_layers(), *block.pretrained_layers()]
    weights = [w.path for part in parts for w in part.weights]
    assert sorted(weights) == sorted(w.path for w in block.weights)
    assert len(weights) == len(set(weights))
    plain = ViTMedBlock(num_heads=2)
    plain.build(SHAPE)
    assert plain.adapter_layers() == []


def test_position_embedding_is_resized_as_an_image(run, randomize, ref):
    layer = PositionEmbedding(table_size=(2, 3))
    layer.build((1, 4, 6, 8))
    randomize(layer)
    table = ref.array(layer.table)
    assert table.shape == (2, 3, 8)
    out = run(layer, np.ones((1, 4, 6, 8), "float32"))
    np.testing.assert_allclose(out, 1 + ref.bilinear(table[None], 2), atol=1e-5)


def test_rematerialised(draw, randomize, input_gradient):
    """The same gradient with activations computed again."""
    x = draw(*SHAPE)
    gradients = []
    for mode in (None, "full"):
        with keras.RematScope(mode=mode):
            block = ViTMedBlock(num_heads=2, num_tokens=3, adapter=True)
            block.build(x.shape)
        randomize(block)
        gradients.append(input_gradient(lambda x, b=block: keras.ops.sum(b(x) ** 2), x))
    np.testing.assert_allclose(gradients[1], gradients[0], rtol=1e-3, atol=1e-3)
