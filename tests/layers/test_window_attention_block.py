import numpy as np
import pytest

from keras_espmedsam.layers import WindowAttentionBlock


@pytest.mark.parametrize("num_modalities", [0, 3])
def test_attention_convolution_and_mlp_beside_the_adapter(
    num_modalities, run, draw, ref, randomize
):
    x = draw(3, 5, 7, 8)
    layer = WindowAttentionBlock(
        2, 3, mlp_ratio=2, num_modalities=num_modalities, adapter_ratio=1.5
    )
    layer.build(x.shape)
    randomize(layer)
    choice = (np.array([2, 0, 1], "int32"),) if num_modalities else ()
    # The parts have tests of their own; here it is their order that counts.
    y = x + run(layer.attention, x, *choice)
    y = ref.conv_norm(y, layer.local_conv)
    hidden = ref.gelu(ref.dense(ref.layer_norm(y, layer.mlp.norm, 1e-5), layer.mlp.dense_layers[0]))
    expected = y + ref.dense(hidden, layer.mlp.dense_layers[1])
    if num_modalities:
        expected = expected + run(layer.adapter, y.astype("float32"), *choice)
        assert layer.adapter.hidden_dim == 12
    else:
        assert layer.adapter is None
    assert hidden.shape[-1] == 16
    np.testing.assert_allclose(run(layer, x, *choice), expected, atol=5e-5)


def test_zero_initialised_adapters_change_nothing_before_training(run, draw):
    x = draw(3, 5, 7, 8)
    layer = WindowAttentionBlock(2, 3, num_modalities=3, adapter_ratio=1, adapter_zero_init=True)
    layer.build(x.shape)
    choice = np.array([2, 0, 1], "int32")
    assert not run(layer.adapter, x, choice).any()
