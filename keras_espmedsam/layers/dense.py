"""Keras' dense layer, computed by `ops.dense`."""

import keras

from keras_espmedsam.ops.dense import dense


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class Dense(keras.layers.Dense):
    """A dense layer that adds its bias within the matrix product if the backend can.

    It has the name of Keras' layer because files name the weights of layers in lists by class.

    Args:
        units, **kwargs: as `keras.layers.Dense`.

    Input shape: `(..., channels)`. Output shape: `(..., units)`.

    Example:
        >>> tuple(Dense(5)(np.zeros((2, 7, 3), "float32")).shape)
        (2, 7, 5)

    Source: `keras.layers.Dense`.
    """

    def call(self, inputs, training=None):
        x = dense(inputs, self.kernel, self.bias)
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras quantises a subclass only if told that it behaves like the base class.
        return super().quantize(mode, type_check=False, config=config)
