"""Bilinear upsampling by an integer factor, for maps of any and even unknown size."""

import keras
from keras import ops

from keras_espmedsam.ops.padding import slice_axis


def bilinear_upsampling(x, factor):
    """Upsample by an integer factor, bilinearly, with half-pixel centres and repeated borders.

    On torch and TensorFlow this is `keras.ops.image.resize`. On JAX, slices and sums take 0.3 to
    0.8 of its time on a CPU. They are also used when a TensorFlow graph is traced for any size,
    which resizing does not support (`benchmarks/layer_forms.py`, docs/reports/bilinear.md).

    Args:
        x: tensor `(batch, height, width, channels)`.
        factor: int, at least 1.

    Returns:
        Tensor `(batch, factor * height, factor * width, channels)`.

    Example:
        >>> tuple(bilinear_upsampling(np.zeros((1, 8, 6, 1), "float32"), 4).shape)
        (1, 32, 24, 1)

    Equal to a bilinear resize with `align_corners=False`.
    """
    if factor == 1:
        return x
    height, width = ops.shape(x)[1:3]
    known = isinstance(height, int) and isinstance(width, int)
    if known and keras.backend.backend() != "jax":
        size = (factor * height, factor * width)
        return ops.image.resize(x, size, interpolation="bilinear", data_format="channels_last")
    return _upsample_axis(_upsample_axis(x, factor, 1), factor, 2)


def _upsample_axis(x, factor, axis):
    def part(start, stop):
        return slice_axis(x, axis, start, stop)

    before = ops.concatenate([part(0, 1), part(0, -1)], axis=axis)
    after = ops.concatenate([part(1, None), part(-1, None)], axis=axis)
    phases = []
    for phase in range(factor):
        # The position of this output pixel, in input pixels from x.
        offset = (phase + 0.5) / factor - 0.5
        neighbour = after if offset > 0 else before
        phases.append(x * (1 - abs(offset)) + neighbour * abs(offset) if offset else x)
    shape = list(ops.shape(x))
    shape[axis] = shape[axis] * factor
    return ops.reshape(ops.stack(phases, axis=axis + 1), shape)
