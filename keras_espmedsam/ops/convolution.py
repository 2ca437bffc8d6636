"""Convolution of channels-last maps in the fastest form for each backend."""

import keras
from keras import ops

from keras_espmedsam.ops.padding import ceil_divide, slice_axis


def conv2d(x, kernel, bias=None, strides=1, pad=0):
    """Convolve with whole or depthwise kernels.

    - torch: `keras.ops.conv` copies its input to channels-first. torch's own function also takes a
      view of channels-last memory, and its kernels are faster on it: 0.25 to 0.87 of the time
      forward on a CPU, 0.5 to 0.96 of a training step. It pads both ends of an axis alike; where
      they differ, positions are dropped, which is faster than to pad first.
    - JAX: on a CPU XLA has no fast depthwise convolution; a sum of shifted maps takes 0.2 to 0.5 of
      the time forward and 0.3 to 0.4 of a training step. A 1 x 1 convolution is a matrix product.
    - TensorFlow: its own.

    Measured by `benchmarks/layer_forms.py`, docs/reports/convolution.md.

    Args:
        x: tensor `(batch, height, width, channels)`.
        kernel: tensor `(rows, columns, channels, filters)`, or for a depthwise convolution
            `(rows, columns, channels, 1)` with more than one channel.
        bias: tensor `(filters,)` or `None`.
        strides: int.
        pad: int, rows and columns of zeros on each side; `((above, below), (left, right))`; or
            `"same"`, which is Keras' padding.

    Returns:
        Tensor `(batch, new height, new width, filters)`.

    Example:
        >>> x = np.ones((1, 8, 6, 3), "float32")
        >>> tuple(conv2d(x, np.ones((3, 3, 3, 5), "float32"), strides=2, pad=1).shape)
        (1, 4, 3, 5)
    """
    return _apply(x, kernel, bias, strides, pad, depthwise=False)


def depthwise_conv2d(x, kernel, bias=None, strides=1, pad=0):
    """Convolve each channel with its own kernel; see `conv2d`.

    Args:
        x: tensor `(batch, height, width, channels)`.
        kernel: tensor `(rows, columns, channels, 1)`.
        bias: tensor `(channels,)` or `None`.
        strides: int.
        pad: int, pairs or `"same"`.

    Returns:
        Tensor `(batch, new height, new width, channels)`.
    """
    return _apply(x, kernel, bias, strides, pad, depthwise=True)


def border_zeros(pad, sizes, sides, strides):
    """Return how many zeros a convolution adds before and after its map, for both axes.

    Args:
        pad: as `conv2d` takes it.
        sizes: (height, width) of the map.
        sides: (rows, columns) of the kernel.
        strides: int.

    Example:
        >>> border_zeros("same", (8, 9), (3, 3), strides=2)
        [(0, 1), (1, 1)]
    """
    if pad != "same":
        return [(pad, pad), (pad, pad)] if isinstance(pad, int) else list(map(tuple, pad))
    found = []
    for size, side in zip(sizes, sides, strict=True):
        total = max((ceil_divide(size, strides) - 1) * strides + side - size, 0)
        found.append((total // 2, total - total // 2))
    return found


def _apply(x, kernel, bias, strides, pad, depthwise):
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    bias = None if bias is None else ops.convert_to_tensor(bias)
    backend = keras.backend.backend()
    if backend == "torch":
        return _on_torch(x, kernel, bias, strides, pad, depthwise)
    if backend == "jax" and depthwise:
        y = _shifted(x, kernel, strides, pad)
    elif backend == "jax" and kernel.shape[:2] == (1, 1) and strides == 1 and pad in (0, "same"):
        y = ops.matmul(x, kernel[0, 0])
    else:
        same = pad == "same" or _equals_same(pad, kernel, strides)
        if pad and not same:
            x = _padded(x, border_zeros(pad, None, None, strides))
        function = ops.depthwise_conv if depthwise else ops.conv
        padding = "same" if same else "valid"
        y = function(x, kernel, strides=strides, padding=padding, data_format="channels_last")
    return y if bias is None else y + bias


def _equals_same(pad, kernel, strides):
    """Whether it is what "same" means, which saves a step."""
    rows, columns = kernel.shape[:2]
    return isinstance(pad, int) and strides == 1 and rows == columns == 2 * pad + 1


def _padded(x, zeros):
    return ops.pad(x, [(0, 0), *zeros, (0, 0)])


def _on_torch(x, kernel, bias, strides, pad, depthwise):
    from torch.nn.functional import conv2d as convolve

    # For a depthwise kernel the last two axes are swapped too: one group per channel.
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    groups = x.shape[-1] if depthwise else 1
    x, kernel = x.permute(0, 3, 1, 2), kernel.permute(order)
    if isinstance(pad, int):
        return convolve(x, kernel, bias, strides, pad, groups=groups).permute(0, 2, 3, 1)
    sizes, sides = x.shape[2:], kernel.shape[2:]
    zeros = border_zeros(pad, sizes, sides, strides)
    # With more zeros before the map, the first positions are those to drop.
    dropped = [max(0, ceil_divide(after - before, strides)) for before, after in zeros]
    both = [before + n * strides for (before, _), n in zip(zeros, dropped, strict=True)]
    y = convolve(x, kernel, bias, strides, both, groups=groups).permute(0, 2, 3, 1)
    if any(before != after for before, after in zeros):
        for axis, first in enumerate(dropped):
            count = (sizes[axis] + sum(zeros[axis]) - sides[axis]) // strides + 1
            y = slice_axis(y, axis + 1, first, first + count)
    return y


def _shifted(x, kernel, strides, pad):
    rows, columns = kernel.shape[:2]
    sizes = ops.shape(x)[1:3]
    zeros = border_zeros(pad, sizes, (rows, columns), strides)
    height, width = (
        (size + sum(two) - side) // strides + 1
        for size, two, side in zip(sizes, zeros, (rows, columns), strict=True)
    )
    if any(map(any, zeros)):
        x = _padded(x, zeros)
    y = None
    for i in range(rows):
        line = _every(x, 1, i, height, strides)
        for j in range(columns):
            product = _every(line, 2, j, width, strides) * kernel[i, j, :, 0]
            y = product if y is None else y + product
    return y


def _every(x, axis, start, count, step):
    if step == 1:
        return slice_axis(x, axis, start, start + count)
    index = [slice(None)] * len(x.shape)
    index[axis] = slice(start, start + (count - 1) * step + 1, step)
    return x[tuple(index)]
