"""Attention to average-pooled keys and values, which extends each query's window."""

import keras

from keras_espmedsam.ops import pooled_window_attention
from keras_espmedsam.ops.msa_conv2d import check_heads, check_pair


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class InterPooling(keras.layers.Layer):
    """Attention to the average-pooled keys and values around each query's cell.

    With `pool_size` 4 and a 7 x 7 window, a query sees 28 x 28 tokens through 49 keys. The result
    is one part of a softmax over both sets of keys; `merge_attentions` combines it with the other.
    The window ends at the border. The layer has no weights.

    Args:
        pool_size: int. Side of the cells that become one key, in tokens.
        kernel_size: int or (int, int), odd. The window's height and width, in cells.
        num_heads: int. Divides the channels.
        scale: float or None. Scale of the logits; `None` is `(channels / num_heads) ** -0.5`.

    Input: q, k, v, three tensors `(batch, height, width, channels)`.
    Output: a pair of `(batch, height, width, channels)` and the log of the softmax's denominator,
    `(batch, height, width, num_heads)` float32.

    Raises:
        ValueError: for an even kernel, or heads that do not divide the channels.

    Example:
        >>> q = k = v = np.ones((1, 10, 13, 8), "float32")
        >>> out, log_total = InterPooling(pool_size=4, kernel_size=3, num_heads=2)(q, k, v)
        >>> tuple(out.shape), tuple(log_total.shape)
        ((1, 10, 13, 8), (1, 10, 13, 2))

    Source: TiC (arXiv 2310.04134), the name and purpose; the paper does not give the design.
    """

    def __init__(self, pool_size, kernel_size, num_heads=1, scale=None, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(pool_size, int) or pool_size < 1:
            raise ValueError(f"Received pool_size={pool_size}; expected an integer above 0.")
        self.pool_size = pool_size
        self.kernel_size = check_pair("kernel_size", kernel_size, odd=True)
        self.num_heads = num_heads
        self.scale = scale

    def build(self, q_shape, k_shape=None, v_shape=None):
        check_heads(self.num_heads, q_shape[-1])
        self.built = True

    def call(self, q, k, v):
        return pooled_window_attention(
            q, k, v, self.pool_size, self.kernel_size, self.num_heads, self.scale
        )

    def compute_output_spec(self, q, k, v):
        # Two dtypes: the log of the denominator is float32 under any policy.
        out = keras.KerasTensor(q.shape, dtype=self.compute_dtype)
        return out, keras.KerasTensor((*q.shape[:-1], self.num_heads), dtype="float32")

    def get_config(self):
        return {
            **super().get_config(),
            "pool_size": self.pool_size,
            "kernel_size": self.kernel_size,
            "num_heads": self.num_heads,
            "scale": self.scale,
        }
