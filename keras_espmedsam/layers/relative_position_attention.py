"""Multi-head self-attention over a whole map, with decomposed relative positions."""

import keras
from keras import ops

from keras_espmedsam.layers.dense import Dense
from keras_espmedsam.layers.key_value_tokens import KeyValueTokens
from keras_espmedsam.layers.relative_positions import RelativePositions, key_places
from keras_espmedsam.ops.device_constant import device_constant
from keras_espmedsam.ops.fused_attention import fused_attention


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class RelativePositionAttention(keras.layers.Layer):
    """Self-attention of all positions of a map, or of a window of it.

    A logit is `scale * q k` plus the query's biases for the key's row and column, computed from the
    unscaled query. The biases are further channels of queries and keys, so that one product gives
    the logit and `fused_attention` need not store it.

    Args:
        num_heads: int. Number of heads; divides the input's channels.
        num_tokens: int. Number of additional tokens, see `KeyValueTokens`; 0 for none.
        table_size: (height, width) or None. See `RelativePositions`.

    Input: `x`, `(batch, height, width, channels)`; `controllers`, bool, `False` to attend
    without the tokens.
    Output shape: that of `x`.

    Raises:
        ValueError: if the heads do not divide the channels.

    Example:
        >>> attention = RelativePositionAttention(num_heads=2, num_tokens=10)
        >>> tuple(attention(np.ones((1, 4, 6, 16))).shape)
        (1, 4, 6, 16)

    Source: SAM (arXiv 2304.02643); UN-SAM (arXiv 2402.16663), the tokens.
    """

    def __init__(self, num_heads, num_tokens=0, table_size=None, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.num_tokens = num_tokens
        self.table_size = tuple(table_size) if table_size is not None else None

    def build(self, input_shape):
        _, height, width, channels = input_shape
        if channels % self.num_heads:
            raise ValueError(
                f"RelativePositionAttention received {channels} channels and "
                f"num_heads={self.num_heads}; choose a number of heads that divides the channels."
            )
        self.head_dim = channels // self.num_heads
        dtype = self.dtype_policy
        self.qkv = Dense(3 * channels, name="qkv", dtype=dtype)
        self.projection = Dense(channels, name="projection", dtype=dtype)
        self.qkv.build(input_shape)
        self.projection.build(input_shape)
        self.positions = RelativePositions(self.table_size, name="positions", dtype=dtype)
        self.positions.build((None, self.num_heads, height, width, self.head_dim))
        self.tokens = None
        if self.num_tokens:
            self.tokens = KeyValueTokens(
                self.num_tokens, self.num_heads, self.head_dim, name="tokens", dtype=dtype
            )
            self.tokens.build()
        self.built = True

    def call(self, x, controllers=True):
        heads, dim = self.num_heads, self.head_dim
        batch, height, width, channels = ops.shape(x)
        qkv = ops.reshape(self.qkv(x), (batch, height * width, 3, heads, dim))
        qkv = ops.transpose(qkv, (2, 0, 3, 1, 4))
        queries, keys, values = qkv[0], qkv[1], qkv[2]
        biases = self.positions(ops.reshape(queries, (batch, heads, height, width, dim)))
        places = device_constant(key_places, height, width, like=keys)
        places = ops.cast(places, keys.dtype)
        places = ops.broadcast_to(places, (batch, heads, *places.shape))
        queries = ops.concatenate([queries * dim**-0.5, biases], axis=-1)
        keys = ops.concatenate([keys, places], axis=-1)
        if self.tokens is not None and controllers:
            # Their logits are scaled like all others, and have no position.
            queries, keys, values = self.tokens(queries, keys, values)
        out = fused_attention(queries, keys, values)
        out = ops.reshape(ops.transpose(out, (0, 2, 1, 3)), (batch, height, width, channels))
        return self.projection(out)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "num_tokens": self.num_tokens,
            "table_size": self.table_size,
        }
