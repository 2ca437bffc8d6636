"""Learned tokens in addition to the keys and values of an attention."""

import keras
from keras import ops

from keras_espmedsam.layers.window_attention import TOKEN_BOUND


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class KeyValueTokens(keras.layers.Layer):
    """Append the same learned tokens to keys and to values.

    The tokens' logits get one learned bias, for which queries and keys grow by a channel. At a
    bias of -10 the tokens are closed: they take a ten-thousandth of the attention or less, and so
    leave a pretrained network unchanged.

    Args:
        num_tokens: int. Tokens of each head.
        num_heads: int. Attention heads.
        head_dim: int. Channels of a head's values.

    Input: `queries` `(batch, heads, n, c)` and `keys` `(batch, heads, m, c)`, whose channels
    from `head_dim` on hold other terms of the logits and are zero for tokens; `values`
    `(batch, heads, m, head_dim)`.
    Output: tuple of queries `(batch, heads, n, c + 1)`, keys
    `(batch, heads, m + num_tokens, c + 1)` and values `(batch, heads, m + num_tokens, head_dim)`.

    Example:
        >>> tokens = KeyValueTokens(num_tokens=10, num_heads=2, head_dim=8)
        >>> x = np.ones((1, 2, 5, 8))
        >>> [tuple(y.shape) for y in tokens(x, x, x)]
        [(1, 2, 5, 9), (1, 2, 15, 9), (1, 2, 15, 8)]

    Source: UN-SAM (arXiv 2402.16663), the sibling of ESP-MedSAM (arXiv 2407.14153), whose medical
    teacher has them; the bias is that of ESP-MedSAM's controllers.
    """

    def __init__(self, num_tokens, num_heads, head_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_tokens = num_tokens
        self.num_heads = num_heads
        self.head_dim = head_dim

    def build(self, queries_shape=None):
        self.tokens = self.add_weight(
            shape=(self.num_heads, self.num_tokens, self.head_dim),
            initializer=keras.initializers.RandomUniform(-TOKEN_BOUND, TOKEN_BOUND),
            name="tokens",
        )
        self.bias = self.add_weight(shape=(1,), initializer="zeros", name="bias")
        self.built = True

    def call(self, queries, keys, values):
        tokens = ops.cast(self.tokens, values.dtype)
        bias = ops.cast(self.bias, values.dtype)
        other = keys.shape[-1] - self.head_dim
        row = ops.concatenate(
            [
                ops.pad(tokens, [(0, 0), (0, 0), (0, other)]),
                ops.broadcast_to(bias, (self.num_heads, self.num_tokens, 1)),
            ],
            axis=-1,
        )
        batch = ops.shape(keys)[0]
        ones = ops.ones_like(queries[..., :1])
        queries = ops.concatenate([queries, ones], axis=-1)
        keys = ops.pad(keys, [(0, 0), (0, 0), (0, 0), (0, 1)])
        keys = ops.concatenate([keys, ops.broadcast_to(row, (batch, *row.shape))], axis=2)
        tokens = ops.broadcast_to(tokens, (batch, *tokens.shape))
        return queries, keys, ops.concatenate([values, tokens], axis=2)

    def get_config(self):
        return {
            **super().get_config(),
            "num_tokens": self.num_tokens,
            "num_heads": self.num_heads,
            "head_dim": self.head_dim,
        }
