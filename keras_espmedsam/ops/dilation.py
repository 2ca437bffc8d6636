"""Turn a dilated window into a plain one, on images of every d-th pixel."""

from keras import ops

from keras_espmedsam.ops.padding import pad_to_multiple


def to_phases(x, rate):
    """Split `(batch, height, width, channels)` into one image per phase, zero-padded at the end.

    Returns:
        `(batch * rate[0] * rate[1], ceil(height / rate[0]), ceil(width / rate[1]), channels)`.
    """
    x = pad_to_multiple(pad_to_multiple(x, rate[0], 1), rate[1], 2)
    batch, height, width, channels = ops.shape(x)
    rows, columns = height // rate[0], width // rate[1]
    x = ops.reshape(x, (batch, rows, rate[0], columns, rate[1], channels))
    x = ops.transpose(x, (0, 2, 4, 1, 3, 5))
    return ops.reshape(x, (batch * rate[0] * rate[1], rows, columns, channels))


def from_phases(x, rate, size):
    """Undo `to_phases` for an image of `size` (height, width)."""
    rows, columns = ops.shape(x)[1:3]
    channels = x.shape[-1]
    x = ops.reshape(x, (-1, *rate, rows, columns, channels))
    x = ops.transpose(x, (0, 3, 1, 4, 2, 5))
    x = ops.reshape(x, (-1, rows * rate[0], columns * rate[1], channels))
    return x[:, : size[0], : size[1], :]
