"""Random-Fourier positional encoding of the image embedding's grid."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.ops.device_constant import device_constant


def _centres(size):
    return (np.arange(size, dtype="float32") + np.float32(0.5)) / np.float32(size) * 2 - 1


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class FourierPositionalEncoding(keras.layers.Layer):
    """Sines and cosines of random projections of each position of a grid.

    Position `(row, column)` becomes the centre of its cell in `[-1, 1]^2`, is projected by a fixed
    Gaussian matrix, and gives `hidden_dim / 2` sines followed by as many cosines. The matrix is
    not trained, but saved: an embedding can only be decoded with the matrix that it was trained
    with.

    Args:
        hidden_dim: int, even. Width of the encoding.
        scale: float. Standard deviation of the projections, in cycles per half image.

    Input: a feature map `(batch, height, width, channels)`, used only for its size.
    Output shape: `(1, height, width, hidden_dim)`, float32.

    Example:
        >>> tuple(FourierPositionalEncoding(256)(np.zeros((2, 4, 4, 256))).shape)
        (1, 4, 4, 256)

    Source: Tancik et al. (arXiv 2006.10739), as used by SAM (arXiv 2304.02643).
    """

    def __init__(self, hidden_dim, scale=1.0, **kwargs):
        # Always float32: half precision cannot represent a phase of many radians.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.hidden_dim = hidden_dim
        self.scale = scale

    def build(self, input_shape):
        self.matrix = self.add_weight(
            shape=(2, self.hidden_dim // 2),
            initializer=keras.initializers.RandomNormal(stddev=self.scale),
            trainable=False,
            name="matrix",
        )
        self.built = True

    def call(self, x):
        _, height, width, _ = ops.shape(x)

        def centres(size):
            if isinstance(size, int):
                return device_constant(_centres, size, like=x)
            return (ops.cast(ops.arange(size), "float32") + 0.5) / ops.cast(size, "float32") * 2 - 1

        horizontal = centres(width)[None, :, None] * self.matrix[0]
        vertical = centres(height)[:, None, None] * self.matrix[1]
        phase = 2 * np.pi * (horizontal + vertical)
        return ops.concatenate([ops.sin(phase), ops.cos(phase)], axis=-1)[None]

    def compute_output_shape(self, input_shape):
        return (1, input_shape[1], input_shape[2], self.hidden_dim)

    def get_config(self):
        return {**super().get_config(), "hidden_dim": self.hidden_dim, "scale": self.scale}
