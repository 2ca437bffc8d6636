"""Inverted residual block of TinyViT's convolutional stage."""

import keras

from keras_espmedsam.layers.activations import gelu
from keras_espmedsam.layers.conv_norm import ConvNorm
from keras_espmedsam.layers.rematerialization import rematerializable
from keras_espmedsam.ops.bands import in_bands


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MBConv(keras.layers.Layer):
    """Inverted bottleneck: 1 x 1 expansion, depthwise 3 x 3, 1 x 1 projection, residual, GELU.

    Batch normalisation follows each convolution; the input is added before the last GELU.

    Args:
        expand_ratio: int. Width of the bottleneck over the input's width.

    Input and output shape: `(batch, height, width, channels)`.

    Example:
        >>> tuple(MBConv(expand_ratio=4)(np.zeros((1, 16, 16, 8))).shape)
        (1, 16, 16, 8)

    Source: TinyViT (arXiv 2207.10666), as used by MobileSAM and ESP-MedSAM.
    """

    def __init__(self, expand_ratio=4, **kwargs):
        super().__init__(**kwargs)
        self.expand_ratio = expand_ratio

    def build(self, input_shape):
        channels = input_shape[-1]
        wide = (*input_shape[:-1], channels * self.expand_ratio)
        dtype = self.dtype_policy
        self.expand = ConvNorm(wide[-1], activation=True, name="expand", dtype=dtype)
        self.depthwise = ConvNorm(None, 3, activation=True, name="depthwise", dtype=dtype)
        self.project = ConvNorm(channels, name="project", dtype=dtype)
        self.expand.build(input_shape)
        self.depthwise.build(wide)
        self.project.build(wide)
        self.built = True

    @rematerializable
    def call(self, x, training=None):
        if training:
            return self._block(x, training)
        # Through the depthwise convolution, a row depends on its two neighbours.
        return in_bands(self._block, x, x.shape[-1] * self.expand_ratio, halo=1)

    def _block(self, x, training=False):
        y = self.expand(x, training=training)
        y = self.depthwise(y, training=training)
        y = self.project(y, training=training)
        return gelu(x + y, overwrite=True)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "expand_ratio": self.expand_ratio}
