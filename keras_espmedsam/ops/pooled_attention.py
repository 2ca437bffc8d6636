"""Attention to a window of a coarser, average-pooled grid."""

from keras import ops

from keras_espmedsam.ops.padding import pad_to_multiple
from keras_espmedsam.ops.tiled_attention import tiled_window_attention


def average_pool_cells(x, cell):
    """Average square cells; cells cut by the border average the pixels that they have.

    Args:
        x: `(batch, height, width, channels)`.
        cell: int. The side of a cell.

    Returns:
        `(batch, ceil(height / cell), ceil(width / cell), channels)`.

    Not Keras' average pooling, whose "same" padding differs between backends.
    """
    return _cell_sums(x, cell) / _cell_sums(ops.ones_like(x[:1, :, :, :1]), cell)


def _cell_sums(x, cell):
    x = pad_to_multiple(pad_to_multiple(x, cell, 1), cell, 2)
    batch, height, width, channels = ops.shape(x)
    x = ops.reshape(x, (batch, height // cell, cell, width // cell, cell, channels))
    return ops.sum(x, axis=(2, 4))


def pooled_window_attention(q, k, v, cell, kernel_size, num_heads, scale=None):
    """Attend from every pixel to the window of pooled keys around its own cell.

    The window ends at the border: on a coarse grid most of it would lie outside.

    Args:
        q, k, v: tensors `(batch, height, width, channels)`; k and v are pooled here.
        cell: int. Side of the cells that become one key.
        kernel_size: (int, int), odd. The window, in cells.
        num_heads: int. Divides the channels.
        scale: float or None. `None` is `(channels / num_heads) ** -0.5`.

    Returns:
        Like `msa_conv2d(..., return_log_total=True)`: `(batch, height, width, channels)` and the
        log of the softmax's denominator, `(batch, height, width, num_heads)`.

    Example:
        >>> x = keras.random.normal((1, 8, 8, 6))
        >>> attended, log_total = pooled_window_attention(
        ...     x, x, x, cell=2, kernel_size=(3, 3), num_heads=3)
        >>> tuple(attended.shape), tuple(log_total.shape)
        ((1, 8, 8, 6), (1, 8, 8, 3))

    Source: TiC (arXiv 2310.04134), the name of inter-pooling; the paper does not give the design.
    """
    channels = v.shape[-1]
    if scale is None:
        scale = (channels // num_heads) ** -0.5
    k, v = average_pool_cells(k, cell), average_pool_cells(v, cell)
    out = tiled_window_attention(
        q, k, v, kernel_size, num_heads, scale, True, None, True, cell=cell
    )
    return ops.cast(out[..., :channels], v.dtype), out[..., channels:]
