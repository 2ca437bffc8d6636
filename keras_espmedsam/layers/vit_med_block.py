"""Transformer block of SAM's image encoder, with the medical teacher's additions."""

import keras
from keras import ops

from keras_espmedsam.layers.mlp import MLP
from keras_espmedsam.layers.parallel_adapter import ParallelAdapter
from keras_espmedsam.layers.relative_position_attention import RelativePositionAttention
from keras_espmedsam.layers.rematerialization import rematerializable
from keras_espmedsam.ops.windows import join_windows, split_windows

LAYER_NORM_EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ViTMedBlock(keras.layers.Layer):
    """Attention in windows or over the whole map, and an MLP parallel to the adapter.

    `x += attention(norm(x))`; `y = norm(x)`; `x = x + mlp(y) + adapter(y)`. The map is padded to
    whole windows after its normalisation: padded positions are zeros, and take part as keys.

    Args:
        num_heads: int. Attention heads.
        window_size: int or None. Side of the attention window; `None` is the whole map.
        mlp_ratio: float. Hidden width of the MLP over the input's width.
        num_tokens: int. See `KeyValueTokens`; 0 for none.
        adapter: bool. Whether there is a `ParallelAdapter`.
        adapter_zero_init: bool. See `ParallelAdapter`.
        table_size: (height, width) or None. See `RelativePositions`; only for whole maps.

    Input: `x`, `(batch, height, width, channels)`; `controllers`, bool, `False` to skip tokens
    and adapter.
    Output shape: that of `x`.

    Example:
        >>> block = ViTMedBlock(num_heads=2, window_size=4, num_tokens=10, adapter=True)
        >>> tuple(block(np.ones((1, 6, 10, 16))).shape)
        (1, 6, 10, 16)

    Source: SAM (arXiv 2304.02643); ESP-MedSAM (arXiv 2407.14153), the additions, following its
    sibling UN-SAM (arXiv 2402.16663).
    """

    def __init__(
        self,
        num_heads,
        window_size=None,
        mlp_ratio=4,
        num_tokens=0,
        adapter=False,
        adapter_zero_init=False,
        table_size=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.window_size = window_size
        self.mlp_ratio = mlp_ratio
        self.num_tokens = num_tokens
        self.has_adapter = adapter
        self.adapter_zero_init = adapter_zero_init
        self.table_size = tuple(table_size) if table_size is not None else None

    def build(self, input_shape):
        channels, size = input_shape[-1], self.window_size
        dtype = self.dtype_policy
        self.norm_1, self.norm_2 = (
            keras.layers.LayerNormalization(
                epsilon=LAYER_NORM_EPSILON, name=f"norm_{i}", dtype=dtype
            )
            for i in (1, 2)
        )
        self.attention = RelativePositionAttention(
            self.num_heads,
            self.num_tokens,
            self.table_size if size is None else None,
            name="attention",
            dtype=dtype,
        )
        self.mlp = MLP(
            (int(channels * self.mlp_ratio), channels), activation="gelu", name="mlp", dtype=dtype
        )
        parts = [self.norm_1, self.norm_2, self.mlp]
        self.adapter = None
        if self.has_adapter:
            self.adapter = ParallelAdapter(self.adapter_zero_init, name="adapter", dtype=dtype)
            parts.append(self.adapter)
        for part in parts:
            part.build(input_shape)
        self.attention.build(input_shape if size is None else (None, size, size, channels))
        self.built = True

    @rematerializable
    def call(self, x, controllers=True):
        # Omit arguments that are not needed: rematerialisation on JAX would trace them.
        choice = {} if controllers else {"controllers": False}
        y = self.norm_1(x)
        if self.window_size is None:
            y = self.attention(y, **choice)
        else:
            shape = ops.shape(y)
            y = split_windows(y, self.window_size)
            y = join_windows(self.attention(y, **choice), shape)
        x = x + y
        y = self.norm_2(x)
        x = x + self.mlp(y)
        if self.adapter is not None and controllers:
            x = x + self.adapter(y)
        return x

    def adapter_layers(self):
        """Return the layers that were added to SAM's block: tokens and adapter, if present."""
        return [part for part in (self.attention.tokens, self.adapter) if part is not None]

    def pretrained_layers(self):
        """Return the layers of SAM's block."""
        attention = self.attention
        return [
            self.norm_1,
            attention.qkv,
            attention.positions,
            attention.projection,
            self.norm_2,
            self.mlp,
        ]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "mlp_ratio": self.mlp_ratio,
            "num_tokens": self.num_tokens,
            "adapter": self.has_adapter,
            "adapter_zero_init": self.adapter_zero_init,
            "table_size": self.table_size,
        }
