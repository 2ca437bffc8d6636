"""Convolutional stem: image to tokens at a quarter of the resolution."""

import keras

from keras_espmedsam.layers.conv_norm import ConvNorm


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ConvPatchEmbedding(keras.layers.Layer):
    """Two 3 x 3 convolutions of stride 2 with batch normalisation and a GELU between them.

    Args:
        hidden_dim: int. Output channels; the first convolution has half of them.

    Input shape: `(batch, height, width, channels)`, height and width multiples of 4.
    Output shape: `(batch, height / 4, width / 4, hidden_dim)`.

    Example:
        >>> tuple(ConvPatchEmbedding(64)(np.zeros((1, 64, 64, 3))).shape)
        (1, 16, 16, 64)

    Source: TinyViT (arXiv 2207.10666).
    """

    def __init__(self, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        dtype = self.dtype_policy
        self.conv_1 = ConvNorm(hidden_dim // 2, 3, 2, activation=True, name="conv_1", dtype=dtype)
        self.conv_2 = ConvNorm(hidden_dim, 3, 2, name="conv_2", dtype=dtype)

    def build(self, input_shape):
        self.conv_1.build(input_shape)
        self.conv_2.build(self.conv_1.compute_output_shape(input_shape))
        self.built = True

    def call(self, x, training=None):
        return self.conv_2(self.conv_1(x, training=training), training=training)

    def compute_output_shape(self, input_shape):
        return self.conv_2.compute_output_shape(self.conv_1.compute_output_shape(input_shape))

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim}
