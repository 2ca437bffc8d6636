"""Convolution followed by batch normalisation, padded as in PyTorch."""

import contextlib
import contextvars

import keras

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.convolution import Conv2D, DepthwiseConv2D

# PyTorch's momentum 0.1 is Keras' 0.9; TinyViT's released weights need epsilon 1e-5.
BATCH_NORM_MOMENTUM = 0.9
BATCH_NORM_EPSILON = 1e-5


_FOLDED = contextvars.ContextVar("folded", default=False)


@contextlib.contextmanager
def folded_norms():
    """Within the block, build `ConvNorm` without its norm and with a bias; see `models.folding`."""
    token = _FOLDED.set(True)
    try:
        yield
    finally:
        _FOLDED.reset(token)


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ConvNorm(keras.layers.Layer):
    """A convolution without bias, batch normalisation and, optionally, GELU.

    Padding is symmetric, `kernel_size // 2` on each side, for any stride: Keras' own
    `padding="same"` is asymmetric with stride 2 and would shift the grid of released weights.

    Args:
        filters: int or None. Output channels; `None` makes a depthwise convolution that keeps
            the input's channels.
        kernel_size: int, odd. Side of the square kernel.
        strides: int. Step of the kernel.
        activation: bool. Whether GELU follows.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, ceil(height / strides), ceil(width / strides), filters)`.

    Example:
        >>> tuple(ConvNorm(32, 3, strides=2)(np.zeros((1, 64, 64, 3))).shape)
        (1, 32, 32, 32)

    Source: TinyViT (arXiv 2207.10666).
    """

    def __init__(self, filters, kernel_size=1, strides=1, activation=False, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = kernel_size
        self.strides = strides
        self.activation = activation
        folded = _FOLDED.get()
        shared = dict(
            strides=strides, pad=kernel_size // 2, use_bias=folded, dtype=self.dtype_policy
        )
        if filters is None:
            self.conv = DepthwiseConv2D(kernel_size, name="conv", **shared)
        else:
            self.conv = Conv2D(filters, kernel_size, name="conv", **shared)
        self.norm = None
        if not folded:
            self.norm = keras.layers.BatchNormalization(
                momentum=BATCH_NORM_MOMENTUM,
                epsilon=BATCH_NORM_EPSILON,
                name="norm",
                dtype=self.dtype_policy,
            )

    def build(self, input_shape):
        self.conv.build(input_shape)
        if self.norm is not None:
            self.norm.build((*input_shape[:-1], self.filters or input_shape[-1]))
        self.built = True

    def call(self, x, training=None):
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x, training=training)
        return gelu(x, overwrite=True) if self.activation else x

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape

        def strided(size):
            return None if size is None else -(-size // self.strides)

        return (batch, strided(height), strided(width), self.filters or channels)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "activation": self.activation,
        }
