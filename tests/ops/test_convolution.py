"""Each backend's form of a convolution against Keras' own, values and gradients."""

import keras
import numpy as np
import pytest

from keras_espmedsam.ops.convolution import conv2d, depthwise_conv2d

SHAPE = (2, 9, 12, 4)


def _reference(x, kernel, bias, strides, pad, depthwise):
    if pad != "same":
        pad = ((pad, pad), (pad, pad)) if isinstance(pad, int) else pad
        x = keras.ops.pad(x, [(0, 0), *pad, (0, 0)])
    function = keras.ops.depthwise_conv if depthwise else keras.ops.conv
    padding = "same" if pad == "same" else "valid"
    return function(
        x, kernel, strides=strides, padding=padding, data_format="channels_last"
    ) + keras.ops.convert_to_tensor(bias)


@pytest.mark.parametrize("depthwise", [False, True])
@pytest.mark.parametrize(
    "side, strides, pad",
    [
        *[(1, 1, 0), (3, 1, 1), (3, 2, 1), (2, 2, 0), (3, 1, 0)],
        *[(1, 1, "same"), (3, 1, "same"), (3, 2, "same"), (5, 2, "same"), (2, 1, "same")],
        *[(3, 2, ((0, 1), (1, 0))), (2, 1, ((0, 3), (2, 1)))],
    ],
)
def test_values_and_gradients(input_gradient, depthwise, side, strides, pad):
    rng = np.random.default_rng(0)
    x = rng.normal(size=SHAPE).astype("float32")
    kernel = rng.normal(size=(side, side, 4, 1 if depthwise else 5)).astype("float32")
    bias = rng.normal(size=4 if depthwise else 5).astype("float32")
    function = depthwise_conv2d if depthwise else conv2d

    def found(x, kernel=kernel):
        kernel = keras.ops.convert_to_tensor(kernel)
        return function(x, kernel, keras.ops.convert_to_tensor(bias), strides, pad)

    def expected(x, kernel=kernel):
        return _reference(x, keras.ops.convert_to_tensor(kernel), bias, strides, pad, depthwise)

    tensor = keras.ops.convert_to_tensor(x)
    one, other = (keras.ops.convert_to_numpy(f(tensor)) for f in (found, expected))
    np.testing.assert_allclose(one, other, atol=1e-5)
    weights = rng.normal(size=one.shape).astype("float32")
    for argument, value in (("x", x), ("kernel", kernel)):
        gradients = [
            input_gradient(lambda v, f=f, a=argument: _total(f, tensor, v, a, weights), value)
            for f in (found, expected)
        ]
        np.testing.assert_allclose(*gradients, atol=1e-4)


def _total(function, x, value, argument, weights):
    y = function(value) if argument == "x" else function(x, value)
    return keras.ops.sum(y * keras.ops.convert_to_tensor(weights))
