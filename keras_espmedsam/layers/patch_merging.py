"""Transition between two stages: change the width and, usually, halve the resolution."""

import keras

from keras_espmedsam.layers.conv_norm import ConvNorm


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PatchMerging(keras.layers.Layer):
    """1 x 1 convolution to the new width, depthwise 3 x 3 with the stride, 1 x 1 convolution.

    Batch normalisation follows each convolution, GELU the first two.

    Args:
        hidden_dim: int. Output channels.
        strides: int. 2 halves the resolution; 1 keeps it, as ESP-MedSAM does before its last
            stage.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, height / strides, width / strides, hidden_dim)`.

    Example:
        >>> tuple(PatchMerging(128)(np.zeros((1, 16, 16, 64))).shape)
        (1, 8, 8, 128)

    Source: TinyViT (arXiv 2207.10666). Departs from the release, which derives the stride from the
    width 320: here it is an argument.
    """

    def __init__(self, hidden_dim, strides=2, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.strides = strides
        dtype = self.dtype_policy
        self.conv_1 = ConvNorm(hidden_dim, activation=True, name="conv_1", dtype=dtype)
        self.conv_2 = ConvNorm(None, 3, strides, activation=True, name="conv_2", dtype=dtype)
        self.conv_3 = ConvNorm(hidden_dim, name="conv_3", dtype=dtype)

    def build(self, input_shape):
        for conv in (self.conv_1, self.conv_2, self.conv_3):
            conv.build(input_shape)
            input_shape = conv.compute_output_shape(input_shape)
        self.built = True

    def call(self, x, training=None):
        for conv in (self.conv_1, self.conv_2, self.conv_3):
            x = conv(x, training=training)
        return x

    def compute_output_shape(self, input_shape):
        for conv in (self.conv_1, self.conv_2, self.conv_3):
            input_shape = conv.compute_output_shape(input_shape)
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "strides": self.strides,
        }
