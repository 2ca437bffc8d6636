"""A transposed convolution whose windows do not overlap, as a matrix product."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class UpscalingConv2D(keras.layers.Layer):
    """Upsample by an integer factor: each pixel becomes a square of pixels.

    Equivalent to `keras.layers.Conv2DTranspose(filters, factor, strides=factor)`, with the same
    weights, but computed as one matrix product: faster on torch on a CPU, and with a gradient many
    times faster on JAX (docs/reports/upscaling.md).

    Args:
        filters: int. Output channels.
        factor: int, at least 1.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, factor * height, factor * width, filters)`.

    Example:
        >>> tuple(UpscalingConv2D(4)(np.zeros((1, 8, 6, 3))).shape)
        (1, 16, 12, 4)

    Source: SAM's decoder (arXiv 2304.02643), the operation.
    """

    def __init__(self, filters, factor=2, **kwargs):
        super().__init__(**kwargs)
        self.filters = filters
        self.factor = factor

    def build(self, input_shape):
        self.kernel = self.add_weight(
            shape=(self.factor, self.factor, self.filters, input_shape[-1]),
            initializer="glorot_uniform",
            name="kernel",
        )
        self.bias = self.add_weight(shape=(self.filters,), initializer="zeros", name="bias")
        self.built = True

    def call(self, x):
        batch, height, width, channels = ops.shape(x)
        factor, filters = self.factor, self.filters
        kernel = ops.transpose(self.kernel, (3, 0, 1, 2))
        kernel = ops.reshape(kernel, (channels, factor * factor * filters))
        # The square of each pixel, row by row; a row of squares becomes rows of pixels.
        x = ops.reshape(ops.matmul(x, kernel), (-1, width, factor, factor * filters))
        x = ops.transpose(x, (0, 2, 1, 3))
        x = ops.reshape(x, (batch, factor * height, factor * width, filters))
        return x + self.bias

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape

        def enlarged(size):
            return None if size is None else size * self.factor

        return (batch, enlarged(height), enlarged(width), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "factor": self.factor}
