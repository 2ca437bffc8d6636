"""Cutting a feature map into square windows and putting it together again."""

from keras import ops

from keras_espmedsam.ops.padding import ceil_divide, pad_to_multiple


def split_windows(x, size):
    """Cut a map into windows, after padding it with zeros at the right and bottom.

    Args:
        x: tensor `(batch, height, width, channels)`.
        size: int. Side of a window.

    Returns:
        Tensor `(batch * windows, size, size, channels)`, the windows of an image row by row.

    Source: SAM (arXiv 2304.02643) and TinyViT (arXiv 2207.10666).
    """
    return cut_windows(pad_to_windows(x, size), size)


def pad_to_windows(x, size):
    """The map with zeros at the right and bottom, so that it is made of whole windows."""
    return pad_to_multiple(pad_to_multiple(x, size, 1), size, 2)


def cut_windows(x, size):
    """As `split_windows`, a map of whole windows."""
    batch, height, width, channels = ops.shape(x)
    rows, columns = height // size, width // size
    x = ops.reshape(x, (batch, rows, size, columns, size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (batch * rows * columns, size, size, channels))


def join_windows(x, shape):
    """The inverse of `split_windows`: the padding is cut off.

    Args:
        x: tensor `(batch * windows, size, size, channels)`.
        shape: `ops.shape` of the map that was cut.

    Returns:
        Tensor `(batch, height, width, channels)`.

    Source: as `split_windows`.
    """
    batch, height, width = shape[:3]
    size = x.shape[1]
    x = lay_windows(x, batch, ceil_divide(height, size), ceil_divide(width, size))
    return x[:, :height, :width, :]


def lay_windows(x, batch, rows, columns):
    """The inverse of `cut_windows`, for so many rows and columns of windows."""
    size, channels = x.shape[1], x.shape[-1]
    x = ops.reshape(x, (batch, rows, columns, size, size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (batch, rows * size, columns * size, channels))
