"""Transformer block of TiC, optionally with modality controllers."""

import keras

from keras_espmedsam.layers.adapted_block import AdaptedBlock
from keras_espmedsam.layers.cyclic_shift import MultiDirectionalCyclicShift
from keras_espmedsam.layers.msa_conv2d import MSAConv2D
from keras_espmedsam.layers.rematerialization import rematerializable
from keras_espmedsam.layers.window_attention import LAYER_NORM_EPSILON


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TiCBlock(AdaptedBlock):
    """MSA-Conv attention, a depthwise 3 x 3 convolution, and an MLP parallel to the adapter.

    `x += attention(norm(x))`; `x = conv(x)`; `x = x + mlp(x) + adapter(x)`. No part depends on the
    map's size. Positions are encoded by the convolution, as in the released layer.

    Args:
        num_heads: int. Attention heads; must divide the input's channels.
        kernel_size: int, odd. Side of the attention's window, in tokens.
        shift_size: int or None. Steps of a `MultiDirectionalCyclicShift` around the attention;
            `None` switches it off.
        pool_size: int or None. Cells of an `InterPooling`; `None` switches it off.
        mlp_ratio: float. Hidden width of the MLP over the input's width.
        border: `"zero"` or `"mask"`, see `MSAConv2D`.
        attention_dropout: float. Fraction of attention weights dropped in training.
        num_modalities: int. Number of modality controllers; 0 for none.
        adapter_ratio: float. Hidden width of the adapters over the input's width.
        adapter_zero_init: bool. See `ModalityAdapter`.

    Input: `x`, `(batch, height, width, channels)`; `modalities`, `(batch,)` int, or `None` if
    `num_modalities` is 0 or 1; `controllers`, bool, `False` to skip the controllers.
    Output shape: that of `x`.

    Example:
        >>> block = TiCBlock(num_heads=2, kernel_size=5, shift_size=5, pool_size=4)
        >>> tuple(block(np.ones((1, 9, 11, 16))).shape)
        (1, 9, 11, 16)

    Source: TiC (arXiv 2310.04134), its parts, since the block itself is not published; ESP-MedSAM
    (arXiv 2407.14153), the controllers.
    """

    def __init__(
        self,
        num_heads,
        kernel_size,
        shift_size=None,
        pool_size=None,
        mlp_ratio=4,
        border="zero",
        attention_dropout=0.0,
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
        self.kernel_size = kernel_size
        self.shift_size = shift_size
        self.pool_size = pool_size
        self.border = border
        self.attention_dropout = attention_dropout

    def build(self, input_shape):
        dtype = self.dtype_policy
        self.norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, name="norm", dtype=dtype
        )
        self.attention = MSAConv2D(
            input_shape[-1],
            self.kernel_size,
            num_heads=self.num_heads,
            border=self.border,
            attention_dropout=self.attention_dropout,
            conv_kernel_size=1,
            residual=False,
            pool_size=self.pool_size,
            num_modalities=self.num_modalities,
            activation=None,
            name="attention",
            dtype=dtype,
        )
        self.norm.build(input_shape)
        self.attention.build(input_shape)
        self.shift = None
        if self.shift_size is not None:
            self.shift = MultiDirectionalCyclicShift(self.shift_size, name="shift", dtype=dtype)
            self.shift.build(input_shape)
        self.build_rest(input_shape)

    @rematerializable
    def call(self, x, modalities=None, controllers=True, training=None):
        y = self.norm(x)
        if self.shift is not None:
            y = self.shift(y)
        y = self.attention(y, modalities, controllers=controllers, training=training)
        if self.shift is not None:
            y = self.shift(y, inverse=True)
        return self.finish(x + y, modalities, controllers, training)

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "kernel_size": self.kernel_size,
            "shift_size": self.shift_size,
            "pool_size": self.pool_size,
            "border": self.border,
            "attention_dropout": self.attention_dropout,
        }
