"""SAM's two-way transformer: queries read the image, the image reads the queries."""

import keras
from keras import ops

from keras_espmedsam.layers.dense import Dense
from keras_espmedsam.layers.mlp import MLP
from keras_espmedsam.ops.device_constant import device_number

LAYER_NORM_EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DownsampledAttention(keras.layers.Layer):
    """Multi-head attention whose inner width is a fraction of its outer width.

    Args:
        num_heads: int. Attention heads; must divide the inner width.
        downsample_rate: int. Outer width over inner width.

    Input: `query` `(batch, queries, channels)`, `key` and `value` `(batch, keys, channels)`;
    `hidden`, bool `(batch, keys)`, true for keys that are not seen, or `None`.
    Output shape: `(batch, queries, channels)`.

    Example:
        >>> x = np.ones((1, 5, 16))
        >>> tuple(DownsampledAttention(num_heads=2, downsample_rate=2)(x, x, x).shape)
        (1, 5, 16)

    Source: SAM (arXiv 2304.02643).
    """

    def __init__(self, num_heads, downsample_rate=1, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.downsample_rate = downsample_rate

    def build(self, query_shape):
        channels = query_shape[-1]
        inner = channels // self.downsample_rate
        if channels % self.downsample_rate or inner % self.num_heads:
            raise ValueError(
                f"Received {channels} channels, downsample_rate={self.downsample_rate} and "
                f"num_heads={self.num_heads}; the rate must divide the channels and the heads "
                "the result."
            )
        self.head_dim = inner // self.num_heads
        self.query, self.key, self.value = (
            Dense(inner, name=name, dtype=self.dtype_policy) for name in ("query", "key", "value")
        )
        self.projection = Dense(channels, name="projection", dtype=self.dtype_policy)
        for dense in (self.query, self.key, self.value):
            dense.build((None, None, channels))
        self.projection.build((None, None, inner))
        self.built = True

    def call(self, query, key, value, hidden=None):
        def split(dense, x):
            # Read the shape before the product: tf2onnx makes a wrong graph if it is read from the
            # product of a map of unknown size and then used to reshape it.
            batch, length, _ = ops.shape(x)
            x = ops.reshape(dense(x), (batch, length, self.num_heads, self.head_dim))
            return ops.transpose(x, (0, 2, 1, 3))

        q, k, v = split(self.query, query), split(self.key, key), split(self.value, value)
        logits = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) * self.head_dim**-0.5
        logits = ops.cast(logits, "float32")
        if hidden is not None:
            # Selected, not added, so that not even a NaN of a hidden key gets through.
            never = device_number(-float("inf"), like=logits)
            logits = ops.where(hidden[:, None, None, :], never, logits)
        weights = ops.softmax(logits, axis=-1)
        out = ops.transpose(ops.matmul(ops.cast(weights, v.dtype), v), (0, 2, 1, 3))
        batch, length, _ = ops.shape(query)
        return self.projection(ops.reshape(out, (batch, length, self.num_heads * self.head_dim)))

    def compute_output_shape(self, query_shape):
        return query_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "downsample_rate": self.downsample_rate,
        }


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TwoWayAttentionBlock(keras.layers.Layer):
    """Self-attention of the queries, queries to image, MLP, image to queries.

    Each step is added to its input and normalised. Positions are added to queries and keys of
    every attention, except in the first block's self-attention, which also replaces the queries
    instead of being added to them.

    Args:
        num_heads: int. Attention heads.
        mlp_dim: int. Hidden width of the MLP.
        downsample_rate: int. Downsample rate of the two cross-attentions.
        is_first: bool. Whether this is the first block.

    Input: `queries`, `keys`, `query_positions`, `key_positions`, each `(batch, length, channels)`;
    `hidden_queries`, bool `(batch, queries)`, true for a query that no other and no pixel sees, or
    `None`; `readers` and `reader_positions`, `(batch, readers, channels)`, or `None`: queries that
    read the other queries and the image but are never read, so that the others do not depend on
    them. A reader equal to a query stays equal to it.
    Output: the new `queries`, `keys` and, if there are any, `readers`.

    Example:
        >>> q, k = np.ones((1, 7, 32)), np.ones((1, 16, 32))
        >>> queries, keys = TwoWayAttentionBlock(num_heads=2, mlp_dim=64)(q, k, q, k)
        >>> tuple(queries.shape), tuple(keys.shape)
        ((1, 7, 32), (1, 16, 32))

    Source: SAM (arXiv 2304.02643).
    """

    def __init__(self, num_heads, mlp_dim, downsample_rate=2, is_first=False, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.downsample_rate = downsample_rate
        self.is_first = is_first

    def build(self, queries_shape):
        channels = queries_shape[-1]
        dtype = self.dtype_policy
        self.self_attention = DownsampledAttention(
            self.num_heads, name="self_attention", dtype=dtype
        )
        self.query_to_image, self.image_to_query = (
            DownsampledAttention(self.num_heads, self.downsample_rate, name=name, dtype=dtype)
            for name in ("query_to_image", "image_to_query")
        )
        self.mlp = MLP((self.mlp_dim, channels), activation="relu", name="mlp", dtype=dtype)
        self.norm_1, self.norm_2, self.norm_3, self.norm_4 = (
            keras.layers.LayerNormalization(
                epsilon=LAYER_NORM_EPSILON, name=f"norm_{i}", dtype=dtype
            )
            for i in (1, 2, 3, 4)
        )
        for layer in (
            self.self_attention,
            self.query_to_image,
            self.mlp,
            self.image_to_query,
            self.norm_1,
            self.norm_2,
            self.norm_3,
            self.norm_4,
        ):
            layer.build((None, None, channels))
        self.built = True

    def call(
        self,
        queries,
        keys,
        query_positions,
        key_positions,
        hidden_queries=None,
        readers=None,
        reader_positions=None,
    ):
        image = keys, key_positions
        seen = queries, query_positions, hidden_queries
        if readers is not None:
            # A call of their own: in one with the queries, these could be rounded differently.
            readers = self._read(readers, reader_positions, seen, image)
        queries = self._read(queries, query_positions, seen, image)
        q, k = queries + query_positions, keys + key_positions
        keys = self.norm_4(keys + self.image_to_query(k, q, queries, hidden_queries))
        return (queries, keys) if readers is None else (queries, keys, readers)

    def _read(self, own, own_positions, seen, image):
        """Attend to the queries and to the image, and apply the MLP."""
        queries, query_positions, hidden = seen
        keys, key_positions = image
        if self.is_first:
            own = self.self_attention(own, queries, queries, hidden)
        else:
            q = own + own_positions
            k = q if own is queries else queries + query_positions
            own = own + self.self_attention(q, k, queries, hidden)
        own = self.norm_1(own)
        q, k = own + own_positions, keys + key_positions
        own = self.norm_2(own + self.query_to_image(q, k, keys))
        return self.norm_3(own + self.mlp(own))

    def compute_output_spec(
        self,
        queries,
        keys,
        query_positions,
        key_positions,
        hidden_queries=None,
        readers=None,
        reader_positions=None,
    ):
        given = (queries, keys) if readers is None else (queries, keys, readers)
        return tuple(keras.KerasTensor(x.shape, dtype=self.compute_dtype) for x in given)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "downsample_rate": self.downsample_rate,
            "is_first": self.is_first,
        }


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TwoWayTransformer(keras.layers.Layer):
    """A stack of two-way blocks and a last attention from queries to image.

    Args:
        depth: int. Number of blocks.
        num_heads: int. Attention heads.
        mlp_dim: int. Hidden width of the MLPs.
        downsample_rate: int. Outer over inner width of the cross-attentions.

    Input: `queries` `(batch, queries, channels)`, `keys` and `key_positions`
    `(batch, pixels, channels)`; the queries are their own positions. `hidden_queries` and
    `readers` as in `TwoWayAttentionBlock`.
    Output: the new `queries`, `keys` and, if there are any, `readers`, shapes as given.

    Example:
        >>> q, k = np.ones((1, 7, 32)), np.ones((1, 16, 32))
        >>> queries, keys = TwoWayTransformer(num_heads=2, mlp_dim=64)(q, k, k)
        >>> tuple(queries.shape), tuple(keys.shape)
        ((1, 7, 32), (1, 16, 32))

    Source: SAM (arXiv 2304.02643), as used by ESP-MedSAM (arXiv 2407.14153).
    """

    def __init__(self, depth=2, num_heads=8, mlp_dim=2048, downsample_rate=2, **kwargs):
        super().__init__(**kwargs)
        self.depth = depth
        self.num_heads = num_heads
        self.mlp_dim = mlp_dim
        self.downsample_rate = downsample_rate
        dtype = self.dtype_policy
        self.blocks = [
            TwoWayAttentionBlock(
                num_heads, mlp_dim, downsample_rate, is_first=i == 0, name=f"block_{i}", dtype=dtype
            )
            for i in range(depth)
        ]
        self.final_attention = DownsampledAttention(
            num_heads, downsample_rate, name="final_attention", dtype=dtype
        )
        self.final_norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, name="final_norm", dtype=dtype
        )

    def build(self, queries_shape):
        for layer in (*self.blocks, self.final_attention, self.final_norm):
            layer.build((None, None, queries_shape[-1]))
        self.built = True

    def call(self, queries, keys, key_positions, hidden_queries=None, readers=None):
        positions, reader_positions = queries, readers
        for block in self.blocks:
            queries, keys, *read = block(
                queries, keys, positions, key_positions, hidden_queries, readers, reader_positions
            )
            readers = read[0] if read else None
        new = self._finish(queries, positions, keys, key_positions)
        if readers is None:
            return new, keys
        return new, keys, self._finish(readers, reader_positions, keys, key_positions)

    def _finish(self, queries, positions, keys, key_positions):
        attended = self.final_attention(queries + positions, keys + key_positions, keys)
        return self.final_norm(queries + attended)

    def compute_output_spec(self, queries, keys, key_positions, hidden_queries=None, readers=None):
        given = (queries, keys) if readers is None else (queries, keys, readers)
        return tuple(keras.KerasTensor(x.shape, dtype=self.compute_dtype) for x in given)

    def get_config(self):
        return {
            **super().get_config(),
            "depth": self.depth,
            "num_heads": self.num_heads,
            "mlp_dim": self.mlp_dim,
            "downsample_rate": self.downsample_rate,
        }
