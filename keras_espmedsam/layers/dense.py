"""Keras' dense layer with the weights of Keras and the operation of `ops.dense`."""

import keras

from keras_espmedsam.ops.dense import dense


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class Dense(keras.layers.Dense):
    """A dense layer whose bias is added by the product itself where a backend can do that.

    The name is Keras' own: files name the weights of layers in lists by their class.

    Args:
        units, **kwargs: as `keras.layers.Dense`.

    Input shape: `(..., channels)`. Output shape: `(..., units)`.

    Example:
        >>> tuple(Dense(5)(np.zeros((2, 7, 3), "float32")).shape)
        (2, 7, 5)

    Source: `keras.layers.Dense`; the form of the operation is ours.
    """

    def call(self, inputs, training=None):
        x = dense(inputs, self.kernel, self.bias)
        return x if self.activation is None else self.activation(x)

    def quantize(self, mode=None, type_check=True, config=None):
        # Keras quantizes no subclasses unless they say that they are as the layer is.
        return super().quantize(mode, type_check=False, config=config)
