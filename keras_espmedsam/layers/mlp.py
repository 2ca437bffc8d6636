"""Feed-forward network of a transformer block."""

import keras

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.dense import Dense


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MLP(keras.layers.Layer):
    """A chain of dense layers with an activation between them.

    Args:
        dims: tuple of int. Output width of each dense layer.
        activation: str or callable. Applied after each dense layer except the last.
        norm_epsilon: float or None. If given, a layer normalisation comes first.
        zero_init: bool. Initialise the last dense layer with zeros.

    Input shape: `(..., channels)`. Output shape: `(..., dims[-1])`.

    Example:
        >>> tuple(MLP((256, 256, 32))(np.zeros((2, 7, 256))).shape)
        (2, 7, 32)

    Source: SAM (arXiv 2304.02643), whose hyper-network has three layers.
    """

    def __init__(self, dims, activation="relu", norm_epsilon=None, zero_init=False, **kwargs):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        self.activation = gelu if activation == "gelu" else keras.activations.get(activation)
        self.norm_epsilon = norm_epsilon
        self.zero_init = zero_init
        dtype = self.dtype_policy
        self.norm = (
            keras.layers.LayerNormalization(epsilon=norm_epsilon, name="norm", dtype=dtype)
            if norm_epsilon is not None
            else None
        )
        last = len(self.dims) - 1
        self.dense_layers = [
            Dense(
                dim,
                kernel_initializer="zeros" if zero_init and i == last else "glorot_uniform",
                name=f"dense_{i + 1}",
                dtype=dtype,
            )
            for i, dim in enumerate(self.dims)
        ]

    def build(self, input_shape):
        channels = input_shape[-1]
        if self.norm is not None:
            self.norm.build((None, channels))
        for dense, dim in zip(self.dense_layers, self.dims, strict=True):
            dense.build((None, channels))
            channels = dim
        self.built = True

    def call(self, x):
        if self.norm is not None:
            x = self.norm(x)
        for i, dense in enumerate(self.dense_layers):
            x = dense(x)
            if i + 1 < len(self.dense_layers):
                is_gelu = self.activation is gelu
                x = gelu(x, overwrite=True) if is_gelu else self.activation(x)
        return x

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dims[-1])

    def get_config(self):
        return {
            **super().get_config(),
            "dims": self.dims,
            "activation": "gelu"
            if self.activation is gelu
            else keras.activations.serialize(self.activation),
            "norm_epsilon": self.norm_epsilon,
            "zero_init": self.zero_init,
        }
