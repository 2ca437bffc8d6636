"""Bilinear upsampling by an integer factor as a layer."""

import keras

from keras_espmedsam.ops.bilinear_upsampling import bilinear_upsampling


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class BilinearUpsampling(keras.layers.Layer):
    """Upsample by an integer factor, bilinearly, with half-pixel centres and repeated borders.

    Args:
        factor: int, at least 1.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, factor * height, factor * width, channels)`.

    Example:
        >>> tuple(BilinearUpsampling(4)(np.zeros((1, 8, 6, 1))).shape)
        (1, 32, 24, 1)

    Equal to a bilinear resize with `align_corners=False`.
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.built = True

    def call(self, x):
        return bilinear_upsampling(x, self.factor)

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        return (
            batch,
            None if height is None else height * self.factor,
            None if width is None else width * self.factor,
            channels,
        )

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
