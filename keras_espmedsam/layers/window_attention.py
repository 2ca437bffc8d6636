"""Multi-head self-attention inside windows, with a key/value token per modality."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.layers.dense import Dense
from keras_espmedsam.layers.modality_variables import select_modality, variables_per_modality
from keras_espmedsam.ops.bands import in_bands
from keras_espmedsam.ops.device_constant import device_constant
from keras_espmedsam.ops.windows import cut_windows, lay_windows, pad_to_windows

LAYER_NORM_EPSILON = 1e-5
# The release initialises the controller's token from U(-b, b), b^2 = 6 / (3 * 16 * 16 + 16).
TOKEN_BOUND = (6 / (3 * 16 * 16 + 16)) ** 0.5
# The initial logit bias of a token that must change nothing. At 0, as in the release, an
# untrained token takes about a fiftieth of the attention from the pretrained keys; at -10 it takes
# a millionth. It can still grow: the gradient is small but not zero, and Adam does not mind its
# scale.
CLOSED_TOKEN_BIAS = -10.0


def relative_position_index(window_size):
    """Return the number of each (|dy|, |dx|) pair, in order of first appearance, row by row.

    Args:
        window_size: int. Side of the window, in tokens.

    Returns:
        int array `(window_size**2, window_size**2)` with values in `[0, window_size**2)`.
    """
    y, x = np.divmod(np.arange(window_size**2), window_size)
    # The scan's first row starts at (0, 0) and meets every pair in row-major order.
    return np.abs(y[:, None] - y[None]) * window_size + np.abs(x[:, None] - x[None])


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class WindowAttention(keras.layers.Layer):
    """Self-attention in square windows with relative position bias and controller tokens.

    The map is padded with zeros at the right and bottom to whole windows, cut into windows,
    normalised and attended window by window. The padding is not masked: after normalisation it is
    the norm's bias and takes part, as in the released model. Each modality has a learned token per
    head that joins both keys and values; its logit gets one learned bias.

    Args:
        num_heads: int. Number of heads; divides the input's channels.
        window_size: int. Side of the window, in tokens.
        num_modalities: int. Number of controller tokens; 0 for plain attention.

    Input: `x`, `(batch, height, width, channels)`, any height and width; `modalities`,
    `(batch,)` int, or `None` if `num_modalities` is 0 or 1; `controllers`, bool, `False` to
    attend without any token.
    Output shape: that of `x`.

    Raises:
        ValueError: if the heads do not divide the channels.

    Example:
        >>> attention = WindowAttention(num_heads=2, window_size=7, num_modalities=6)
        >>> tuple(attention(np.ones((2, 10, 12, 16)), np.array([0, 5])).shape)
        (2, 10, 12, 16)

    Source: TinyViT (arXiv 2207.10666); ESP-MedSAM (arXiv 2407.14153), the controller token.
    """

    def __init__(self, num_heads, window_size, num_modalities=0, **kwargs):
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.window_size = window_size
        self.num_modalities = num_modalities

    def build(self, input_shape):
        channels = input_shape[-1]
        if channels % self.num_heads:
            raise ValueError(
                f"WindowAttention received {channels} channels and num_heads={self.num_heads}; "
                "choose a number of heads that divides the channels."
            )
        self.head_dim = channels // self.num_heads
        dtype = self.dtype_policy
        self.norm = keras.layers.LayerNormalization(
            epsilon=LAYER_NORM_EPSILON, name="norm", dtype=dtype
        )
        self.qkv = Dense(3 * channels, name="qkv", dtype=dtype)
        self.projection = Dense(channels, name="projection", dtype=dtype)
        for layer in (self.norm, self.qkv, self.projection):
            layer.build((None, None, channels))
        self.position_bias = self.add_weight(
            shape=(self.num_heads, self.window_size**2), initializer="zeros", name="position_bias"
        )
        self.tokens = variables_per_modality(
            self.num_modalities,
            {"token": (self.num_heads, self.head_dim), "bias": (1,)},
            lambda: {"token": keras.initializers.RandomUniform(-TOKEN_BOUND, TOKEN_BOUND)},
            dtype,
        )
        self.built = True

    def call(self, x, modalities=None, controllers=True, training=None):
        size, channels = self.window_size, x.shape[-1]
        height, width = ops.shape(x)[1:3]
        own = None
        if self.num_modalities and controllers:
            own = [
                select_modality(
                    [ops.cast(w[name], self.compute_dtype) for w in self.tokens], modalities
                )
                for name in ("token", "bias")
            ]

        def attend(x):
            batch, rows, columns = ops.shape(x)[0], ops.shape(x)[1] // size, ops.shape(x)[2] // size
            x = ops.reshape(cut_windows(x, size), (batch * rows * columns, size**2, channels))
            x = self.attend(self.norm(x), own, batch, rows * columns)
            x = ops.reshape(x, (-1, size, size, channels))
            return lay_windows(x, batch, rows, columns)

        x = pad_to_windows(x, size)
        if training:
            x = attend(x)
        else:
            # Each position has a query, key and value and, per head, the weights of its keys.
            widest = max(3 * channels, self.num_heads * size**2)
            x = in_bands(attend, x, widest, unit=size)
        return x[:, :height, :width, :]

    def attend(self, x, own, batch, windows):
        """Attend inside `(batch * windows, window_size**2, channels)` normalised tokens.

        `own` is each sample's token and the bias of its logit, or `None` for no token.
        """
        heads, dim = self.num_heads, self.head_dim
        tokens = self.window_size**2
        # Laid out per head as (q, k, v), in the order of the released weights.
        qkv = ops.reshape(self.qkv(x), (batch * windows, tokens, heads, 3 * dim))
        qkv = ops.transpose(qkv, (0, 2, 1, 3))
        q, k, v = qkv[..., :dim], qkv[..., dim : 2 * dim], qkv[..., 2 * dim :]
        q = q * (dim**-0.5)
        index = device_constant(relative_position_index, self.window_size, like=x)
        bias = ops.take(
            ops.cast(self.position_bias, self.compute_dtype), ops.reshape(index, (-1,)), axis=1
        )
        bias = ops.reshape(bias, (1, heads, tokens, tokens))
        logits = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2))) + bias
        if own is None:
            weights = self.softmax(logits)
            out = ops.matmul(weights, v)
        else:
            token = own[0][:, None, :, None, :]
            token_bias = own[1][:, None, :, None, None]
            # One token per sample for all its windows: (batch * windows, heads, 1, dim).
            token = ops.broadcast_to(token, (batch, windows, heads, 1, dim))
            token = ops.reshape(token, (batch * windows, heads, 1, dim))
            token_bias = ops.broadcast_to(token_bias, (batch, windows, 1, 1, 1))
            token_bias = ops.reshape(token_bias, (batch * windows, 1, 1, 1))
            token_logit = ops.sum(q * token, axis=-1, keepdims=True) + token_bias
            weights = self.softmax(ops.concatenate([logits, token_logit], axis=-1))
            # The same token is key and value.
            out = ops.matmul(weights[..., :tokens], v) + weights[..., tokens:] * token
        out = ops.reshape(ops.transpose(out, (0, 2, 1, 3)), (batch * windows, tokens, heads * dim))
        return self.projection(out)

    def softmax(self, logits):
        """Softmax over the keys in float32, whatever the compute dtype."""
        return ops.cast(ops.softmax(ops.cast(logits, "float32"), axis=-1), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "num_heads": self.num_heads,
            "window_size": self.window_size,
            "num_modalities": self.num_modalities,
        }
