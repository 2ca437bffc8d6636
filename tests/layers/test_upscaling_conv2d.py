import keras
import numpy as np
import pytest

from keras_espmedsam.layers import UpscalingConv2D

X = np.random.default_rng(0).normal(size=(2, 5, 3, 4)).astype("float32")


@pytest.mark.parametrize("factor", [1, 2, 3])
def test_it_is_a_transposed_convolution_with_the_same_weights(factor, run, randomize):
    layer = UpscalingConv2D(6, factor)
    other = keras.layers.Conv2DTranspose(6, factor, strides=factor)
    for one in (layer, other):
        one.build(X.shape)
    randomize(other)
    assert [v.shape for v in layer.weights] == [v.shape for v in other.weights]
    layer.set_weights(other.get_weights())
    np.testing.assert_allclose(run(layer, X), run(other, X), atol=1e-5, rtol=1e-5)
