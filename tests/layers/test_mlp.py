import numpy as np
import pytest

from keras_espmedsam.layers import MLP


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("norm_epsilon", [None, 1e-5])
def test_equals_numpy(activation, norm_epsilon, run, draw, ref, randomize):
    x = draw(2, 5, 4)
    layer = MLP((6, 7, 3), activation, norm_epsilon)
    layer.build(x.shape)
    randomize(layer)
    y = x if norm_epsilon is None else ref.layer_norm(x, layer.norm, norm_epsilon)
    for i, dense in enumerate(layer.dense_layers):
        y = ref.dense(y, dense)
        if i < 2:
            y = np.maximum(y, 0) if activation == "relu" else ref.gelu(y)
    assert layer.compute_output_shape(x.shape) == (2, 5, 3)
    np.testing.assert_allclose(run(layer, x), y, atol=2e-5)
