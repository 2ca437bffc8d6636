"""The product of a dense layer in the fastest form for each backend."""

import keras
from keras import ops


def dense(x, kernel, bias=None):
    """Compute `x kernel + bias`.

    torch's own function adds the bias as it writes the product; `keras.ops` would make a second
    pass over a second map. TensorFlow and XLA fuse the two.

    Args:
        x: tensor `(..., channels)`.
        kernel: tensor `(channels, units)`.
        bias: tensor `(units,)` or `None`.

    Returns:
        Tensor `(..., units)`.

    Example:
        >>> y = dense(np.ones((1, 7, 3), "float32"), np.ones((3, 5), "float32"))
        >>> tuple(y.shape), float(keras.ops.max(y))
        ((1, 7, 5), 3.0)
    """
    if keras.backend.backend() == "torch":
        from torch.nn.functional import linear

        x, kernel = ops.convert_to_tensor(x), ops.convert_to_tensor(kernel)
        bias = None if bias is None else ops.convert_to_tensor(bias)
        return linear(x, kernel.t(), bias)
    x = ops.matmul(x, kernel)
    return x if bias is None else ops.add(x, bias)
