"""MSA-Conv: self-attention in the window of a convolution, then the convolution."""

import keras
from keras import ops

from keras_espmedsam.layers.dense import Dense
from keras_espmedsam.layers.inter_pooling import InterPooling
from keras_espmedsam.layers.modality_variables import select_modality, variables_per_modality
from keras_espmedsam.ops import merge_attentions, msa_conv2d
from keras_espmedsam.ops.msa_conv2d import BORDERS, check_choice, check_heads, check_pair

TOKEN_STDDEV = 0.02


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MSAConv2D(keras.layers.Layer):
    """Multi-head self-attention convolution: `activation(conv(x + attention(x)))`.

    Every pixel attends to the window around it, on maps of any size and at a cost linear in their
    pixels. A convolution of the same window then gives the output's width and stride. With the
    defaults this is the released layer. As released, the attention always has stride 1, and the
    convolution has no dilation.

    Args:
        filters: int. Output channels.
        kernel_size: int or (int, int), odd. Window of the attention and of the convolution.
        strides: int or (int, int). Strides of the convolution.
        padding: `"same"`, `"valid"`, or an int or (int, int): zeros added to both sides of the
            rows and of the columns, for the convolution; the release's default is 1.
        dilation_rate: int or (int, int). Dilation of the attention.
        num_heads: int. Divides the input's channels.
        depthwise: bool. One attention map per channel; `num_heads` must be left at 1.
        border: `"zero"`: keys outside the image are zeros and keep their share of the softmax, as
            published; `"mask"`: they are left out.
        attention_dropout: float. Fraction of the attention weights dropped in training.
        conv_kernel_size: int or (int, int) or None. Window of the convolution; `None` is that of
            the attention. 1 is the output projection of transformers.
        residual: bool. Add the input to the attention before the convolution, as released.
        pool_size: int or None. Side of the cells of an `InterPooling` whose keys join each
            window; `None` for none.
        num_modalities: int. Number of controller tokens: one per modality joins each window, as
            key and as value; 0 for none.
        activation: activation of the output. `"relu"` as released, or `None`.
        use_bias: bool. Bias of the convolution; queries, keys and values always have one.
        kernel_initializer, bias_initializer, kernel_regularizer, bias_regularizer: for all parts,
            as in `keras.layers.Conv2D`.

    Input: `x`, `(batch, height, width, channels)`, any height and width; `modalities`, `(batch,)`
    int, or `None` if `num_modalities` is 0 or 1; `controllers`, bool, `False` to attend without
    any token.
    Output shape: `(batch, new height, new width, filters)`.

    Raises:
        ValueError: for an even kernel, heads that do not divide the channels, and the like.

    Example:
        >>> layer = MSAConv2D(32, kernel_size=7, num_heads=2)
        >>> tuple(layer(np.ones((1, 20, 30, 16))).shape)
        (1, 20, 30, 32)
        >>> small = MSAConv2D(32, kernel_size=(3, 5), strides=2, padding=(1, 2), dilation_rate=2)
        >>> tuple(small(np.ones((1, 13, 17, 16))).shape)
        (1, 7, 9, 32)

    Source: TiC (arXiv 2310.04134) and its released layer. Departs from the paper: heads, depthwise,
    `"mask"`, pooling and controller tokens are generalisations.
    """

    def __init__(
        self,
        filters,
        kernel_size,
        strides=1,
        padding="same",
        dilation_rate=1,
        num_heads=1,
        depthwise=False,
        border="zero",
        attention_dropout=0.1,
        conv_kernel_size=None,
        residual=True,
        pool_size=None,
        num_modalities=0,
        activation="relu",
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        seed=None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = filters
        self.kernel_size = check_pair("kernel_size", kernel_size, odd=True)
        self.strides = check_pair("strides", strides)
        self.padding = _checked_padding(padding)
        self.dilation_rate = check_pair("dilation_rate", dilation_rate)
        if depthwise and num_heads != 1:
            raise ValueError(
                f"Received depthwise=True and num_heads={num_heads}; a depthwise attention has "
                "one head per channel, so leave num_heads at 1."
            )
        self.num_heads = num_heads
        self.depthwise = depthwise
        check_choice("border", border, BORDERS)
        self.border = border
        if not 0 <= attention_dropout < 1:
            raise ValueError(
                f"Received attention_dropout={attention_dropout}; expected a number of at least "
                "0 and below 1."
            )
        self.attention_dropout = attention_dropout
        if conv_kernel_size is None:
            conv_kernel_size = self.kernel_size
        self.conv_kernel_size = check_pair("conv_kernel_size", conv_kernel_size)
        self.residual = residual
        self.pool_size = pool_size
        self.num_modalities = num_modalities
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.bias_regularizer = keras.regularizers.get(bias_regularizer)
        self.seed = seed
        self.seed_generator = None
        if attention_dropout:
            self.seed_generator = keras.random.SeedGenerator(seed, name="seed_generator")

    def build(self, input_shape):
        channels = input_shape[-1]
        self.heads = channels if self.depthwise else self.num_heads
        check_heads(self.heads, channels)
        dtype = self.dtype_policy
        weights = {
            "kernel_regularizer": self.kernel_regularizer,
            "bias_regularizer": self.bias_regularizer,
            "dtype": dtype,
        }
        # Along the channels: queries, keys, values, in the order of the released weights.
        self.qkv = Dense(
            3 * channels,
            kernel_initializer=_cloned(self.kernel_initializer),
            bias_initializer=_cloned(self.bias_initializer),
            name="qkv",
            **weights,
        )
        self.qkv.build(input_shape)
        explicit = not isinstance(self.padding, str)
        self.conv_padding = None
        if explicit and any(self.padding):
            self.conv_padding = keras.layers.ZeroPadding2D(
                tuple((p, p) for p in self.padding),
                data_format="channels_last",
                name="conv_padding",
                dtype=dtype,
            )
            self.conv_padding.build(input_shape)
        self.conv = keras.layers.Conv2D(
            self.filters,
            self.conv_kernel_size,
            self.strides,
            padding="valid" if explicit else self.padding,
            data_format="channels_last",
            use_bias=self.use_bias,
            kernel_initializer=_cloned(self.kernel_initializer),
            bias_initializer=_cloned(self.bias_initializer),
            name="conv",
            **weights,
        )
        self.conv.build(self._padded_shape(input_shape))
        self.inter_pooling = None
        if self.pool_size is not None:
            self.inter_pooling = InterPooling(
                self.pool_size, self.kernel_size, self.heads, name="inter_pooling", dtype=dtype
            )
            self.inter_pooling.build(input_shape)
        self.tokens = variables_per_modality(
            self.num_modalities,
            {"token": (channels,), "bias": (1,)},
            lambda: {"token": keras.initializers.TruncatedNormal(stddev=TOKEN_STDDEV)},
            dtype,
        )
        self.built = True

    def call(self, x, modalities=None, controllers=True, training=None):
        attended = self.attend(x, modalities, controllers, training)
        if self.residual:
            attended = x + attended
        if self.conv_padding is not None:
            attended = self.conv_padding(attended)
        return self.activation(self.conv(attended))

    def attend(self, x, modalities=None, controllers=True, training=None):
        """Compute only the attention: `(batch, height, width, channels)` to the same shape."""
        q, k, v = ops.split(self.qkv(x), 3, axis=-1)
        tokens = self.tokens if controllers else []
        alone = self.inter_pooling is None and not tokens
        window = msa_conv2d(
            q,
            k,
            v,
            self.kernel_size,
            self.dilation_rate,
            self.heads,
            border=self.border,
            dropout_rate=self.attention_dropout if training else 0.0,
            seed=self.seed_generator,
            return_log_total=not alone,
        )
        if alone:
            return window
        parts = [window]
        if self.inter_pooling is not None:
            parts.append(self.inter_pooling(q, k, v))
        if tokens:
            parts.append(self._token(q, modalities))
        return merge_attentions(parts)

    def _token(self, q, modalities):
        """Attend to the one token of each sample's modality: the result is only its logit."""
        batch, height, width, channels = ops.shape(q)
        token = select_modality(
            [ops.cast(t["token"], self.compute_dtype) for t in self.tokens], modalities
        )[:, None, None, :]
        bias = select_modality([ops.cast(t["bias"], "float32") for t in self.tokens], modalities)
        head_dim = channels // self.heads
        products = ops.reshape(q * token, (batch, height, width, self.heads, head_dim))
        logit = ops.sum(ops.cast(products, "float32"), axis=-1) * head_dim**-0.5
        # The same token is key and value, as in TinyViT's controller.
        return ops.broadcast_to(token, ops.shape(q)), logit + bias[:, None, None, :]

    def _padded_shape(self, input_shape):
        if self.conv_padding is None:
            return input_shape
        return self.conv_padding.compute_output_shape(input_shape)

    def compute_output_shape(self, input_shape):
        return self.conv.compute_output_shape(self._padded_shape(input_shape))

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "dilation_rate": self.dilation_rate,
            "num_heads": self.num_heads,
            "depthwise": self.depthwise,
            "border": self.border,
            "attention_dropout": self.attention_dropout,
            "conv_kernel_size": self.conv_kernel_size,
            "residual": self.residual,
            "pool_size": self.pool_size,
            "num_modalities": self.num_modalities,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
            "bias_regularizer": keras.regularizers.serialize(self.bias_regularizer),
            "seed": self.seed,
        }


def _cloned(initializer):
    # A seeded initializer returns the same numbers on each call, so each weight gets its own.
    return initializer.clone() if hasattr(initializer, "clone") else initializer


def _checked_padding(padding):
    if isinstance(padding, str):
        check_choice("padding", padding, ("same", "valid"))
        return padding
    pair = tuple(padding) if isinstance(padding, tuple | list) else (padding, padding)
    if len(pair) != 2 or not all(isinstance(n, int) and n >= 0 for n in pair):
        raise ValueError(
            f'Received padding={padding}; expected "same", "valid", or one or two integers of at '
            "least 0."
        )
    return pair
