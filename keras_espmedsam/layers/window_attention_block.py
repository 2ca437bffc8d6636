"""Transformer block of TinyViT with a modality controller."""

import keras

from keras_espmedsam.layers.adapted_block import AdaptedBlock
from keras_espmedsam.layers.rematerialization import rematerializable
from keras_espmedsam.layers.window_attention import WindowAttention


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class WindowAttentionBlock(AdaptedBlock):
    """Window attention, a depthwise 3 x 3 convolution, and an MLP parallel to the adapter.

    `x += attention(x)`; `x = conv(x)`; `x = x + mlp(x) + adapter(x)`.

    Args:
        num_heads: int. Attention heads.
        window_size: int. Side of the attention window, in tokens.
        mlp_ratio: float. Hidden width of the MLP over the input's width.
        num_modalities: int. Number of modality controllers; 0 for none.
        adapter_ratio: float. Hidden width of the adapters over the input's width.
        adapter_zero_init: bool. See `ModalityAdapter`.

    Input: `x`, `(batch, height, width, channels)`; `modalities`, `(batch,)` int, or `None` if
    `num_modalities` is 0 or 1; `controllers`, bool, `False` to skip the controllers.
    Output shape: that of `x`.

    Example:
        >>> block = WindowAttentionBlock(num_heads=2, window_size=4)
        >>> tuple(block(np.ones((1, 8, 8, 16))).shape)
        (1, 8, 8, 16)

    Source: TinyViT (arXiv 2207.10666) and ESP-MedSAM (arXiv 2407.14153).
    """

    def __init__(
        self,
        num_heads,
        window_size,
        mlp_ratio=4,
        num_modalities=0,
        adapter_ratio=4,
        adapter_zero_init=False,
        **kwargs,
    ):
        super().__init__(
            mlp_ratio=mlp_ratio,
            num_modalities=num_modalities,
            adapter_ratio=adapter_ratio,
            adapter_zero_init=adapter_zero_init,
            **kwargs,
        )
        self.num_heads = num_heads
        self.window_size = window_size

    def build(self, input_shape):
        self.attention = WindowAttention(
            self.num_heads,
            self.window_size,
            self.num_modalities,
            name="attention",
            dtype=self.dtype_policy,
        )
        self.attention.build(input_shape)
        self.build_rest(input_shape)

    @rematerializable
    def call(self, x, modalities=None, controllers=True, training=None):
        x = x + self.attention(x, modalities, controllers=controllers, training=training)
        return self.finish(x, modalities, controllers, training)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
        }
