"""Attention of all queries to all keys, fused where a backend does it in one kernel."""

import keras
from keras import ops


def fused_attention(queries, keys, values):
    """Softmax of `queries keys^T`, not scaled, times `values`; the softmax in float32.

    A bias of the form `f(query) . g(key)`, such as a decomposed relative position, belongs into
    further channels of queries and keys: then torch's kernels never hold the logits, which at
    64 x 64 tokens and 12 heads are 805 MB per image.

    Args:
        queries: tensor `(batch, heads, n, c)`.
        keys: tensor `(batch, heads, m, c)`.
        values: tensor `(batch, heads, m, d)` with `d <= c`.

    Returns:
        Tensor `(batch, heads, n, d)`.

    Source: ours.
    """
    if keras.backend.backend() == "torch":
        width = values.shape[-1]
        # The fused kernels want one width, and zeros cost less than doing without the kernel.
        extra = keys.shape[-1] - width
        values = ops.pad(values, [(0, 0), (0, 0), (0, 0), (0, extra)])
        q, k, v = (ops.transpose(x, (0, 2, 1, 3)) for x in (queries, keys, values))
        out = ops.dot_product_attention(q, k, v, scale=1.0)
        return ops.transpose(out, (0, 2, 1, 3))[..., :width]
    # Keras' own form is slower on the CPU by the other backends, which fuse nothing there.
    logits = ops.matmul(queries, ops.transpose(keys, (0, 1, 3, 2)))
    weights = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    return ops.matmul(ops.cast(weights, values.dtype), values)
