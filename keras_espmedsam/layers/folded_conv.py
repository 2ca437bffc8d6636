"""Keras' convolution and the batch normalisation after it, computed as one convolution."""

import keras
from keras import ops

from keras_espmedsam.layers.convolution import Conv2D, DepthwiseConv2D
from keras_espmedsam.ops.convolution import conv2d, depthwise_conv2d


class FoldedConv(keras.layers.Layer):
    """Computes a convolution and its normalisation as one convolution, with their own weights.

    For inference. The kernel is scaled again in each call, so that changed weights count; it is
    far smaller than the maps that the normalisation would go through. At half precision, where the
    scaled kernel would be rounded once more, only the convolution has another form.

    Args:
        conv: layer for which `can_be_folded` holds.
        norm: `keras.layers.BatchNormalization` for which `norm_can_be_folded` holds, or `None`.
        pad: as `ops.convolution.conv2d` takes it; `None` is the convolution's own.

    Example:
        >>> conv = keras.layers.Conv2D(4, 3, padding="same", use_bias=False)
        >>> norm = keras.layers.BatchNormalization()
        >>> x = np.random.default_rng(0).normal(size=(1, 8, 8, 3)).astype("float32")
        >>> expected = norm(conv(x))
        >>> bool(ops.all(ops.isclose(FoldedConv(conv, norm)(x), expected, atol=1e-5)))
        True

    Source: the folding of arXiv 1712.05877, section 3.2.
    """

    def __init__(self, conv, norm=None, pad=None, **kwargs):
        super().__init__(dtype=conv.dtype_policy, **kwargs)
        self.conv = conv
        self.norm = norm
        self.pad = pad_of(conv) if pad is None else pad

    def call(self, x):
        conv, norm = self.conv, self.norm
        if norm is None or "16" in conv.compute_dtype or "16" in norm.compute_dtype:
            y = self._convolve(x, conv.kernel, conv.bias if conv.use_bias else None)
            return y if norm is None else norm(y, training=False)
        return self._convolve(x, *folded_weights(conv, norm))

    def _convolve(self, x, kernel, bias):
        function = depthwise_conv2d if _is_depthwise(self.conv) else conv2d
        return function(x, kernel, bias, self.conv.strides[0], self.pad)

    def compute_output_shape(self, input_shape):
        return self.alone().compute_output_shape(input_shape)

    def alone(self):
        """Return a layer that computes the same, without a normalisation; its weights are new."""
        conv = self.conv
        options = {
            "strides": conv.strides[0],
            "pad": self.pad,
            "use_bias": conv.use_bias or self.norm is not None,
            # The convolution without the normalisation can be in the same graph.
            "name": conv.name if self.norm is None else f"{conv.name}_{self.norm.name}",
            "dtype": conv.dtype_policy,
        }
        if _is_depthwise(conv):
            return DepthwiseConv2D(conv.kernel_size, **options)
        return Conv2D(conv.filters, conv.kernel_size, **options)

    def assign_to(self, alone):
        """Write the folded weights, with LoRA adapters merged in, to a layer of `alone`, built."""
        conv = self.conv
        kernel, bias = conv.kernel, conv.bias if conv.use_bias else None
        if self.norm is not None:
            kernel, bias = folded_weights(conv, self.norm)
        alone.kernel.assign(kernel)
        if bias is not None:
            alone.bias.assign(bias)


def folded_weights(conv, norm):
    """Return the kernel and the bias of a convolution that includes the normalisation after it.

    Args:
        conv: layer for which `can_be_folded` holds.
        norm: `keras.layers.BatchNormalization`; its moving statistics are taken.

    Returns:
        Tensors, of the kernel's shape and `(filters,)`.
    """
    scale = ops.rsqrt(norm.moving_variance + norm.epsilon)
    if norm.scale:
        scale = scale * norm.gamma
    shift = -norm.moving_mean * scale
    if norm.center:
        shift = shift + norm.beta
    if conv.use_bias:
        shift = shift + conv.bias * scale
    # A depthwise kernel's channel axis is the second to last.
    return conv.kernel * (scale[:, None] if _is_depthwise(conv) else scale), shift


def can_be_folded(layer):
    """Whether a layer is a convolution that `ops.convolution` can compute.

    Args:
        layer: anything. A derived class may compute something else, so it is not one.

    Example:
        >>> can_be_folded(keras.layers.Conv2D(4, 3)), can_be_folded(keras.layers.Conv1D(4, 3))
        (True, False)
    """
    if type(layer) not in (keras.layers.Conv2D, keras.layers.DepthwiseConv2D):
        return False
    return (
        layer.data_format == "channels_last"
        and layer.padding in ("valid", "same")
        and len(set(layer.strides)) == 1
        and set(layer.dilation_rate) == {1}
        and layer.activation is keras.activations.linear
        and (layer.depth_multiplier if _is_depthwise(layer) else layer.groups) == 1
    )


def norm_can_be_folded(layer):
    """Whether a layer is a batch normalisation of the channels, which come last.

    Args:
        layer: anything.
    """
    return type(layer) is keras.layers.BatchNormalization and layer.axis in (-1, 3)


def pad_of(conv):
    """Return a convolution's padding as `ops.convolution.conv2d` takes it.

    Args:
        conv: layer for which `can_be_folded` holds.
    """
    if conv.padding == "valid":
        return 0
    rows, columns = conv.kernel_size
    odd = rows == columns and rows % 2 == 1
    return rows // 2 if odd and conv.strides[0] == 1 else "same"


def _is_depthwise(conv):
    return isinstance(conv, keras.layers.DepthwiseConv2D)
