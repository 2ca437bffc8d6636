import keras
import numpy as np
import pytest

from keras_espmedsam.layers import WindowAttention
from keras_espmedsam.layers.window_attention import (
    TOKEN_BOUND,
    relative_position_index,
)


def _index_by_scan(size):
    """The release's way: number each (|dy|, |dx|) when the scan first meets it."""
    places = [(y, x) for y in range(size) for x in range(size)]
    numbers = {}
    index = []
    for y, x in places:
        for v, u in places:
            pair = (abs(y - v), abs(x - u))
            index.append(numbers.setdefault(pair, len(numbers)))
    return np.array(index).reshape(size**2, size**2)


def _window_attention(x, modalities, layer, ref):
    """The spec, window by window and head by head."""
    size, heads = layer.window_size, layer.num_heads
    batch, height, width, channels = x.shape
    dim = channels // heads
    rows, columns = -(-height // size), -(-width // size)
    padded = np.zeros((batch, rows * size, columns * size, channels))
    padded[:, :height, :width] = x
    position_bias = ref.array(layer.position_bias)[:, _index_by_scan(size)]
    out = np.zeros_like(padded)
    for b in range(batch):
        for top in range(0, rows * size, size):
            for left in range(0, columns * size, size):
                place = (b, slice(top, top + size), slice(left, left + size))
                # The padding is normalised and takes part like any other token.
                tokens = ref.layer_norm(padded[place].reshape(-1, channels), layer.norm, 1e-5)
                qkv = ref.dense(tokens, layer.qkv)
                merged = []
                for h in range(heads):
                    own = qkv[:, 3 * dim * h : 3 * dim * (h + 1)]
                    q, k, v = np.split(own, 3, axis=1)
                    logits = q @ k.T * dim**-0.5 + position_bias[h]
                    if layer.num_modalities:
                        weights = layer.tokens[0 if modalities is None else modalities[b]]
                        token = ref.array(weights["token"])[h]
                        own_logit = q @ token * dim**-0.5 + ref.array(weights["bias"])
                        logits = np.concatenate([logits, own_logit[:, None]], axis=1)
                        v = np.concatenate([v, token[None]])
                    merged.append(ref.softmax(logits) @ v)
                projected = ref.dense(np.concatenate(merged, axis=1), layer.projection)
                out[place] = projected.reshape(size, size, channels)
    return out[:, :height, :width]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 14])
def test_position_index_equals_a_literal_scan(size):
    ours = relative_position_index(size)
    np.testing.assert_array_equal(ours, _index_by_scan(size))
    assert ours.min() == 0
    assert ours.max() == size**2 - 1


@pytest.mark.parametrize(
    ("window_size", "map_size", "num_modalities", "modalities"),
    [
        pytest.param(3, (6, 3), 0, None, id="whole windows, no controller"),
        pytest.param(3, (5, 7), 3, [2, 0, 1], id="padded, three controllers"),
        pytest.param(5, (4, 3), 1, None, id="window larger than the map, one controller"),
    ],
)
def test_equals_the_spec(
    window_size, map_size, num_modalities, modalities, run, draw, ref, randomize
):
    x = draw(3, *map_size, 8)
    layer = WindowAttention(2, window_size, num_modalities)
    layer.build(x.shape)
    randomize(layer)
    inputs = (x,) if modalities is None else (x, np.array(modalities, "int32"))
    expected = _window_attention(x, modalities, layer, ref)
    np.testing.assert_allclose(run(layer, *inputs), expected, atol=2e-5)


def test_a_mixed_batch_equals_batches_of_one_modality(run, draw, randomize):
    x = draw(3, 5, 7, 8)
    layer = WindowAttention(2, 3, 3)
    layer.build(x.shape)
    randomize(layer)
    mixed = run(layer, x, np.array([2, 0, 1], "int32"))
    for row, k in enumerate([2, 0, 1]):
        alone = run(layer, x, np.full(3, k, "int32"))
        np.testing.assert_allclose(mixed[row], alone[row], atol=1e-5)
    assert np.abs(mixed[0] - alone[0]).max() > 1e-2


def test_initial_controller_tokens_as_released(ref):
    layer = WindowAttention(8, 2, 2)
    layer.build((None, 2, 2, 64))
    for weights in layer.tokens:
        token = ref.array(weights["token"])
        assert token.shape == (8, 8)
        assert 0.8 * TOKEN_BOUND < np.abs(token).max() <= TOKEN_BOUND
        assert not ref.array(weights["bias"]).any()
    assert TOKEN_BOUND == pytest.approx(0.0874818)
    assert not ref.array(layer.position_bias).any()


def test_only_the_controllers_are_marked():
    layer = WindowAttention(2, 3, 2)
    layer.build((None, 4, 4, 8))
    marked = {id(v): v.modality for v in layer.variables if hasattr(v, "modality")}
    assert marked == {id(v): k for k, t in enumerate(layer.tokens) for v in t.variables}


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="received 10 channels and num_heads=4"):
        WindowAttention(4, 3).build((None, 4, 4, 10))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only TensorFlow traces sizes")
def test_size_unknown_while_tracing(draw, ref, randomize):
    import tensorflow as tf

    layer = WindowAttention(2, 3, 3)
    layer.build((None, None, None, 8))
    randomize(layer)
    traced = tf.function(
        lambda x, k: layer(x, k),
        input_signature=[tf.TensorSpec((None, None, None, 8)), tf.TensorSpec((None,), tf.int32)],
    )
    for shape in ((2, 5, 7, 8), (1, 6, 3, 8)):
        x, modalities = draw(*shape), np.array([2, 1][: shape[0]], "int32")
        expected = _window_attention(x, modalities, layer, ref)
        np.testing.assert_allclose(traced(x, modalities).numpy(), expected, atol=2e-5)
