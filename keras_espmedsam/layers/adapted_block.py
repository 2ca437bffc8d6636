"""The parts shared by the transformer blocks of TinyViT and TiC: all except the attention."""

import keras

from keras_espmedsam.layers.conv_norm import ConvNorm
from keras_espmedsam.layers.mlp import MLP
from keras_espmedsam.layers.modality_adapter import ModalityAdapter
from keras_espmedsam.layers.window_attention import LAYER_NORM_EPSILON
from keras_espmedsam.ops.bands import in_bands


class AdaptedBlock(keras.layers.Layer):
    """Base class: after the attention a depthwise convolution, then an MLP parallel to an adapter.

    `x = conv(x)`; `x = x + mlp(x) + adapter(x)`. A subclass makes its `attention`, with the
    controllers' `tokens`, in `build`, then calls `build_rest`; its `call` ends with `finish`.

    Args:
        mlp_ratio: float. Hidden width of the MLP over the input's width.
        num_modalities: int. Number of modality controllers; 0 for none.
        adapter_ratio: float. Hidden width of the adapters over the input's width.
        adapter_zero_init: bool. See `ModalityAdapter`.

    Source: TinyViT (arXiv 2207.10666) and ESP-MedSAM (arXiv 2407.14153).
    """

    def __init__(
        self, mlp_ratio=4, num_modalities=0, adapter_ratio=4, adapter_zero_init=False, **kwargs
    ):
        super().__init__(**kwargs)
        self.mlp_ratio = mlp_ratio
        self.num_modalities = num_modalities
        self.adapter_ratio = adapter_ratio
        self.adapter_zero_init = adapter_zero_init

    def build_rest(self, input_shape):
        """Make and build the parts after the attention."""
        channels = input_shape[-1]
        dtype = self.dtype_policy
        self.local_conv = ConvNorm(None, 3, name="local_conv", dtype=dtype)
        self.mlp = MLP(
            (int(channels * self.mlp_ratio), channels),
            activation="gelu",
            norm_epsilon=LAYER_NORM_EPSILON,
            name="mlp",
            dtype=dtype,
        )
        parts = [self.local_conv, self.mlp]
        self.adapter = None
        if self.num_modalities:
            self.adapter = ModalityAdapter(
                self.num_modalities,
                int(channels * self.adapter_ratio),
                zero_init=self.adapter_zero_init,
                name="adapter",
                dtype=dtype,
            )
            parts.append(self.adapter)
        for part in parts:
            part.build(input_shape)
        self.built = True

    def finish(self, x, modalities, controllers, training):
        """Apply the parts after the attention and its residual."""
        x = self.local_conv(x, training=training)
        own = None
        if self.adapter is not None and controllers:
            own = self.adapter.own_weights(modalities)

        def feed_forward(x):
            y = self.mlp(x)
            if own is not None:
                y = y + self.adapter.adapt(x, own)
            return x + y

        if training:
            return feed_forward(x)
        return in_bands(feed_forward, x, self.mlp.dims[0])

    def controller_layers(self, index):
        """Return the two layers of modality `index`'s controller: token and adapter."""
        return [self.attention.tokens[index], self.adapter.adapters[index]]

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "mlp_ratio": self.mlp_ratio,
            "num_modalities": self.num_modalities,
            "adapter_ratio": self.adapter_ratio,
            "adapter_zero_init": self.adapter_zero_init,
        }
