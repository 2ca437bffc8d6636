"""Attention of all queries to all keys, in one kernel if the backend has one."""

import keras
from keras import ops


def fused_attention(queries, keys, values):
    """Compute the softmax of `queries keys^T`, not scaled, in float32, times `values`.

    Put a bias of the form `f(query) . g(key)`, such as a decomposed relative position, into further
    channels of queries and keys: then torch's kernels never store the logits, which at 64 x 64
    tokens and 12 heads are 805 MB per image.

    Args:
        queries: tensor `(batch, heads, n, c)`.
        keys: tensor `(batch, heads, m, c)`.
        values: tensor `(batch, heads, m, d)` with `d <= c`.

    Returns:
        Tensor `(batch, heads, n, d)`.
    """
    if keras.backend.backend() == "torch":
        width = values.shape[-1]
        # The fused kernels need one width; padding with zeros is cheaper than not using them.
        extra = keys.shape[-1] - width
        values = ops.pad(values, [(0, 0), (0, 0), (0, 0), (0, extra)])
        q, k, v = (ops.transpose(x, (0, 2, 1, 3)) for x in (queries, keys, values))
        out = ops.dot_product_attention(q, k, v, scale=1.0)
        return ops.transpose(out, (0, 2, 1, 3))[..., :width]
    # Keras' own function is slower on a CPU on the other backends, which fuse nothing there.
    logits = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
    weights = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    return ops.matmul(ops.cast(weights, values.dtype), values)
