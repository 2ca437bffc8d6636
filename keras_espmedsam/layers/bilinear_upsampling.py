"""Bilinear enlargement by a whole factor, for maps of any and even unknown size."""

import keras
from keras import ops


def _upsample_axis(x, factor, axis):
    """Enlarge one of the two spatial axes of `(batch, height, width, channels)`."""

    def part(start, stop):
        index = [slice(None)] * 4
        index[axis] = slice(start, stop)
        return x[tuple(index)]

    before = ops.concatenate([part(0, 1), part(0, -1)], axis=axis)
    after = ops.concatenate([part(1, None), part(-1, None)], axis=axis)
    phases = []
    for phase in range(factor):
        # Half-pixel centres: where this output pixel lies, in input pixels from x.
        offset = (phase + 0.5) / factor - 0.5
        neighbour = after if offset > 0 else before
        phases.append(x * (1 - abs(offset)) + neighbour * abs(offset) if offset else x)
    shape = list(ops.shape(x))
    shape[axis] = shape[axis] * factor
    return ops.reshape(ops.stack(phases, axis=axis + 1), shape)


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class BilinearUpsampling(keras.layers.Layer):
    """Enlarge by a whole factor, bilinear with half-pixel centres and repeated borders.

    Made of slices and sums: `keras.ops.image.resize` needs sizes known when a TensorFlow graph
    is traced, which would tie an exported model to one image size.

    Args:
        factor: int, at least 1.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, factor * height, factor * width, channels)`.

    Example:
        >>> tuple(BilinearUpsampling(4)(np.zeros((1, 8, 6, 1))).shape)
        (1, 32, 24, 1)

    Source: ours; equal to a bilinear resize (`align_corners=False`).
    """

    def __init__(self, factor, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def build(self, input_shape):
        self.built = True

    def call(self, x):
        if self.factor == 1:
            return x
        return _upsample_axis(_upsample_axis(x, self.factor, 1), self.factor, 2)

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
