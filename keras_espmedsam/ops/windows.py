"""Split a feature map into square windows and join them again."""

from keras import ops

from keras_espmedsam.ops.padding import ceil_divide, pad_to_multiple


def split_windows(x, size):
    """Split a map into windows, after padding it with zeros at the right and bottom.

    Args:
        x: tensor `(batch, height, width, channels)`.
        size: int. Side of a window.

    Returns:
        Tensor `(batch * windows, size, size, channels)`, the windows of an image row by row.

    Source: SAM (arXiv 2304.02643) and TinyViT (arXiv 2207.10666).
    """
    return cut_windows(pad_to_windows(x, size), size)


def pad_to_windows(x, size):
    """Pad the map with zeros at the right and bottom to whole windows."""
    return pad_to_multiple(pad_to_multiple(x, size, 1), size, 2)


def cut_windows(x, size):
    """Like `split_windows`, for a map of whole windows."""
    batch, height, width, channels = ops.shape(x)
    rows, columns = height // size, width // size
    x = ops.reshape(x, (batch, rows, size, columns, size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (batch * rows * columns, size, size, channels))


def join_windows(x, shape):
    """Invert `split_windows` and remove the padding.

    Args:
        x: tensor `(batch * windows, size, size, channels)`.
        shape: `ops.shape` of the original map.

    Returns:
        Tensor `(batch, height, width, channels)`.

    Source: see `split_windows`.
    """
    batch, height, width = shape[:3]
    size = x.shape[1]
    x = lay_windows(x, batch, ceil_divide(height, size), ceil_divide(width, size))
    return x[:, :height, :width, :]


def lay_windows(x, batch, rows, columns):
    """Invert `cut_windows`, for the given rows and columns of windows."""
    size, channels = x.shape[1], x.shape[-1]
    x = ops.reshape(x, (batch, rows, columns, size, size, channels))
    x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
    return ops.reshape(x, (batch, rows * size, columns * size, channels))
