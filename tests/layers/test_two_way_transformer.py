import numpy as np
import pytest

from keras_espmedsam.layers import DownsampledAttention, TwoWayAttentionBlock, TwoWayTransformer


def test_attention_equals_numpy(run, draw, ref, randomize):
    query, key, value = draw(2, 3, 8), draw(2, 5, 8), draw(2, 5, 8)
    layer = DownsampledAttention(num_heads=2, downsample_rate=2)
    layer.build(query.shape)
    randomize(layer)
    assert layer.query.kernel.shape == (8, 4)
    expected = ref.attention(query, key, value, layer)
    np.testing.assert_allclose(run(layer, query, key, value), expected, atol=1e-5)


@pytest.mark.parametrize(("channels", "num_heads", "rate"), [(8, 3, 1), (9, 1, 2), (8, 4, 4)])
def test_attention_refuses_widths_that_do_not_divide(channels, num_heads, rate):
    with pytest.raises(ValueError, match=f"{channels} channels, downsample_rate={rate}"):
        DownsampledAttention(num_heads, rate).build((None, 3, channels))


@pytest.mark.parametrize("is_first", [True, False])
def test_block_equals_numpy(is_first, run, draw, ref, randomize):
    inputs = draw(2, 3, 8), draw(2, 6, 8), draw(2, 3, 8), draw(1, 6, 8)
    layer = TwoWayAttentionBlock(2, mlp_dim=16, is_first=is_first)
    layer.build(inputs[0].shape)
    randomize(layer)
    queries, keys = run(layer, *inputs)
    expected_queries, expected_keys = ref.two_way_block(*inputs, layer)
    np.testing.assert_allclose(queries, expected_queries, atol=2e-5)
    np.testing.assert_allclose(keys, expected_keys, atol=2e-5)


def test_the_first_block_replaces_its_queries(run, draw, randomize):
    """With a self-attention that answers zero, the first block forgets what it was asked."""
    queries, keys, positions = draw(2, 3, 8), draw(2, 6, 8), draw(1, 6, 8)
    for is_first in (True, False):
        layer = TwoWayAttentionBlock(2, mlp_dim=16, is_first=is_first)
        layer.build(queries.shape)
        randomize(layer)
        for variable in layer.self_attention.projection.variables:
            variable.assign(np.zeros(variable.shape))
        nothing = np.zeros_like(queries)
        one, _ = run(layer, queries, keys, nothing, positions)
        other, _ = run(layer, 2 * queries + 1, keys, nothing, positions)
        assert (np.abs(one - other).max() < 1e-5) == is_first


def test_transformer_equals_numpy(run, draw, ref, randomize):
    queries, keys, positions = draw(2, 3, 8), draw(2, 6, 8), draw(1, 6, 8)
    layer = TwoWayTransformer(depth=2, num_heads=2, mlp_dim=16)
    layer.build(queries.shape)
    randomize(layer)
    assert [block.is_first for block in layer.blocks] == [True, False]
    new_queries, new_keys = run(layer, queries, keys, positions)
    expected_queries, expected_keys = ref.two_way(queries, keys, positions, layer)
    np.testing.assert_allclose(new_queries, expected_queries, atol=2e-5)
    np.testing.assert_allclose(new_keys, expected_keys, atol=2e-5)
