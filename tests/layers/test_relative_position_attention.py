import numpy as np
import pytest

from keras_espmedsam.layers import RelativePositionAttention, RelativePositions
from keras_espmedsam.ops.linear_resize import resize_matrix

SHAPE = (2, 4, 3, 8)


def resized(table, rows):
    """Linear, half-pixel centres, borders repeated: one column after the other."""
    places = (np.arange(rows) + 0.5) * len(table) / rows - 0.5
    columns = [np.interp(places, np.arange(len(table)), column) for column in table.T]
    return np.stack(columns, axis=1)


def expected(x, layer, ref, tokens=True):
    """One query of one head after the other."""
    batch, height, width, channels = x.shape
    heads, dim = layer.num_heads, channels // layer.num_heads
    rows = resized(ref.array(layer.positions.rows), 2 * height - 1)
    columns = resized(ref.array(layer.positions.columns), 2 * width - 1)
    qkv = ref.dense(x, layer.qkv).reshape(batch, height * width, 3, heads, dim)
    out = np.zeros((batch, height * width, heads, dim))
    places = [divmod(i, width) for i in range(height * width)]
    for b, head in np.ndindex(batch, heads):
        q, k, v = (qkv[b, :, part, head] for part in range(3))
        for i, (y, x_) in enumerate(places):
            logits = [
                q[i] @ k[j] / np.sqrt(dim)
                + q[i] @ rows[y - other_y + height - 1]
                + q[i] @ columns[x_ - other_x + width - 1]
                for j, (other_y, other_x) in enumerate(places)
            ]
            values = v
            if tokens and layer.tokens is not None:
                own = ref.array(layer.tokens.tokens)[head]
                logits += list(own @ q[i] / np.sqrt(dim) + ref.array(layer.tokens.bias))
                values = np.concatenate([v, own])
            out[b, i, head] = ref.softmax(np.array(logits)) @ values
    return ref.dense(out.reshape(x.shape), layer.projection)


@pytest.mark.parametrize("table_size", [None, (6, 2)])
def test_is_the_sum_over_all_places_and_tokens(run, randomize, draw, ref, table_size):
    layer = RelativePositionAttention(num_heads=2, num_tokens=3, table_size=table_size)
    x = draw(*SHAPE)
    layer.build(x.shape)
    randomize(layer)
    np.testing.assert_allclose(run(layer, x), expected(x, layer, ref), atol=2e-5)
    if table_size is None:
        without = run(layer, x, controllers=False)
        np.testing.assert_allclose(without, expected(x, layer, ref, tokens=False), atol=2e-5)


def test_tables_of_another_size_keep_their_weights(draw, run):
    layer = RelativePositions(table_size=(6, 2))
    queries = draw(1, 2, 4, 3, 8)
    layer.build(queries.shape)
    assert [tuple(w.shape) for w in layer.weights] == [(11, 8), (3, 8)]


def test_heads_must_divide_the_channels():
    with pytest.raises(ValueError, match="8 channels and num_heads=3"):
        RelativePositionAttention(num_heads=3).build(SHAPE)


@pytest.mark.parametrize(("source", "target"), [(27, 13), (3, 7), (5, 5)])
def test_resize_matrix(source, target):
    table = np.random.default_rng(0).normal(size=(source, 4))
    np.testing.assert_allclose(
        resize_matrix(source, target) @ table, resized(table, target), atol=1e-5
    )
