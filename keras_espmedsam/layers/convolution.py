"""Keras' convolution layers, computed by `ops.convolution`."""

import keras

from keras_espmedsam.ops.convolution import border_zeros, conv2d, depthwise_conv2d


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class Conv2D(keras.layers.Conv2D):
    """A convolution that pads as in PyTorch, on all sides alike, whatever the stride.

    It has the name of Keras' layer because files name the weights of layers in lists by class.

    Args:
        filters: int. Output channels.
        kernel_size: int. Side of the square kernel.
        strides: int.
        pad: int. Zeros on each side of the input; or what else `ops.convolution` takes.
        **kwargs: `use_bias`, initializers, `name`, `dtype`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, (height + 2 pad - kernel_size) // strides + 1, ..., filters)`.

    Example:
        >>> tuple(Conv2D(5, 3, strides=2, pad=1)(np.zeros((1, 8, 6, 3), "float32")).shape)
        (1, 4, 3, 5)

    Source: `keras.layers.Conv2D`.
    """

    def __init__(self, filters, kernel_size, strides=1, pad=0, **kwargs):
        # Set explicitly, whatever keras.json says: weights and `ops.convolution` are channels-last.
        kwargs["data_format"] = "channels_last"
        super().__init__(filters, kernel_size, strides=strides, padding="valid", **kwargs)
        self.pad = pad

    def build(self, input_shape):
        # Include the padding: Keras rejects a map smaller than the kernel.
        super().build(_padded(input_shape, self))

    def call(self, x):
        return conv2d(x, self.kernel, self.bias, self.strides[0], self.pad)

    def compute_output_shape(self, input_shape):
        return super().compute_output_shape(_padded(input_shape, self))

    def get_config(self):
        return _config(super().get_config(), self.pad)


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """A depthwise convolution; see `Conv2D`.

    Args:
        kernel_size: int. Side of the square kernel.
        strides, pad, **kwargs: as `Conv2D`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: as `Conv2D`, with the input's channels.

    Example:
        >>> tuple(DepthwiseConv2D(3, pad=1)(np.zeros((1, 8, 6, 4), "float32")).shape)
        (1, 8, 6, 4)

    Source: `keras.layers.DepthwiseConv2D`.
    """

    def __init__(self, kernel_size, strides=1, pad=0, **kwargs):
        kwargs["data_format"] = "channels_last"
        super().__init__(kernel_size, strides=strides, padding="valid", **kwargs)
        self.pad = pad

    def build(self, input_shape):
        super().build(_padded(input_shape, self))

    def call(self, x):
        return depthwise_conv2d(x, self.kernel, self.bias, self.strides[0], self.pad)

    def compute_output_shape(self, input_shape):
        return super().compute_output_shape(_padded(input_shape, self))

    def get_config(self):
        return _config(super().get_config(), self.pad)


def _padded(shape, layer):
    batch, *sizes, channels = shape
    # Only the shapes of known sides are computed; "same" needs some number for the others.
    known = [size or layer.kernel_size[0] for size in sizes]
    zeros = border_zeros(layer.pad, known, layer.kernel_size, layer.strides[0])
    padded = [
        None if size is None else size + sum(two) for size, two in zip(sizes, zeros, strict=True)
    ]
    return (batch, *padded, channels)


def _config(config, pad):
    config = {key: value for key, value in config.items() if key != "padding"}
    return {**config, "pad": pad}
