"""Convolution of channels-last maps in the fastest form for each backend."""

import keras
from keras import ops

from keras_espmedsam.ops.padding import slice_axis


def conv2d(x, kernel, bias=None, strides=1, pad=0):
    """Convolve with whole or depthwise kernels, with the same padding on all sides.

    - torch: `keras.ops.conv` copies its input to channels-first. torch's own function also takes a
      view of channels-last memory, and its kernels are faster on it: 0.25 to 0.87 of the time
      forward on a CPU, 0.5 to 0.96 of a training step.
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
        pad: int. Rows and columns of zeros on each side.

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
        pad: int.

    Returns:
        Tensor `(batch, new height, new width, channels)`.
    """
    return _apply(x, kernel, bias, strides, pad, depthwise=True)


def _apply(x, kernel, bias, strides, pad, depthwise):
    x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
    bias = None if bias is None else ops.convert_to_tensor(bias)
    backend = keras.backend.backend()
    if backend == "torch":
        return _on_torch(x, kernel, bias, strides, pad, depthwise)
    if backend == "jax" and depthwise:
        y = _shifted(x, kernel, strides, pad)
    elif backend == "jax" and kernel.shape[:2] == (1, 1) and strides == 1 and pad == 0:
        y = ops.matmul(x, kernel[0, 0])
    else:
        # With stride 1 "same" is symmetric for odd kernels and saves a step.
        same = strides == 1 and kernel.shape[0] == kernel.shape[1] == 2 * pad + 1
        if pad and not same:
            x = ops.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
        function = ops.depthwise_conv if depthwise else ops.conv
        padding = "same" if same else "valid"
        y = function(x, kernel, strides=strides, padding=padding, data_format="channels_last")
    return y if bias is None else y + bias


def _on_torch(x, kernel, bias, strides, pad, depthwise):
    from torch.nn.functional import conv2d as convolve

    # For a depthwise kernel the last two axes are swapped too: one group per channel.
    order = (2, 3, 0, 1) if depthwise else (3, 2, 0, 1)
    groups = x.shape[-1] if depthwise else 1
    y = convolve(x.permute(0, 3, 1, 2), kernel.permute(order), bias, strides, pad, groups=groups)
    return y.permute(0, 2, 3, 1)


def _shifted(x, kernel, strides, pad):
    rows, columns = kernel.shape[:2]
    height, width = (
        (size + 2 * pad - side) // strides + 1
        for size, side in zip(ops.shape(x)[1:3], (rows, columns), strict=True)
    )
    if pad:
        x = ops.pad(x, [(0, 0), (pad, pad), (pad, pad), (0, 0)])
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
