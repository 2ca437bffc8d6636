"""Roll groups of channels in eight directions, and back."""

import keras
from keras import ops

from keras_espmedsam.ops.padding import slice_axis

# Steps along (rows, columns): the four axes, then the four diagonals.
DIRECTIONS = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, -1), (-1, 1))


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MultiDirectionalCyclicShift(keras.layers.Layer):
    """Roll each of eight groups of channels by a fixed step in its own direction.

    Use it before an attention and, with `inverse=True`, after it. In between, a token holds
    channels from eight positions `shift_size` away, which the projections to queries, keys and
    values mix; then each group of the result is rolled back. So a pixel's group i reaches, in group
    j, positions `shift_size * (direction i - direction j)` away, plus the window. The map is
    cyclic: what leaves at one border enters at the other.

    Args:
        shift_size: int. Steps, in tokens.

    Input shape: `(batch, height, width, channels)`, at least 8 channels. Output shape: the same.

    Example:
        >>> shift = MultiDirectionalCyclicShift(shift_size=2)
        >>> x = np.random.normal(size=(1, 9, 12, 16)).astype("float32")
        >>> float(keras.ops.max(keras.ops.abs(shift(shift(x), inverse=True) - x)))
        0.0

    Source: TiC (arXiv 2310.04134), the name and purpose; the paper does not give the design.
    """

    def __init__(self, shift_size, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(shift_size, int) or shift_size < 1:
            raise ValueError(f"Received shift_size={shift_size}; expected an integer above 0.")
        self.shift_size = shift_size

    def build(self, input_shape):
        if input_shape[-1] < len(DIRECTIONS):
            raise ValueError(
                f"MultiDirectionalCyclicShift received {input_shape[-1]} channels; expected at "
                f"least {len(DIRECTIONS)}, one per direction."
            )
        self.built = True

    def call(self, x, inverse=False):
        channels, count = x.shape[-1], len(DIRECTIONS)
        step = -self.shift_size if inverse else self.shift_size
        groups = []
        for i, direction in enumerate(DIRECTIONS):
            group = x[..., channels * i // count : channels * (i + 1) // count]
            for axis in (0, 1):
                if direction[axis]:
                    group = _rolled(group, step * direction[axis], axis + 1)
            groups.append(group)
        return ops.concatenate(groups, axis=-1)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "shift_size": self.shift_size}


def _rolled(x, step, axis):
    size = ops.shape(x)[axis]
    if not isinstance(size, int):
        return ops.roll(x, step, axis=axis)
    # Of two slices, since TFLite has no roll.
    step %= size
    if not step:
        return x
    parts = slice_axis(x, axis, size - step, size), slice_axis(x, axis, 0, size - step)
    return ops.concatenate(parts, axis=axis)
