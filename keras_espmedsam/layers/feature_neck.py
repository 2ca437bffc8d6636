"""Turn one or several stages' feature maps into the image embedding."""

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.layers.bilinear_upsampling import BilinearUpsampling
from keras_espmedsam.layers.convolution import Conv2D

CHANNEL_NORM_EPSILON = 1e-6


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class FeatureNeck(keras.layers.Layer):
    """1 x 1 convolution, channel norm, 3 x 3 convolution, channel norm.

    With one feature map this is SAM's neck. With several, each has its own first convolution and
    the results are added at `output_stride`: coarser maps are upsampled bilinearly, finer ones
    reduced by a strided convolution. So the embedding keeps the detail of the early stages, which
    thin structures such as vessels need at small image sizes.

    Args:
        hidden_dim: int. Width of the embedding.
        strides: list of int. Pixels of the image per step of each input map.
        output_stride: int. Pixels of the image per step of the embedding.

    Input: list of `(batch, height / stride, width / stride, channels)`.
    Output shape: `(batch, height / output_stride, width / output_stride, hidden_dim)`.

    Raises:
        InputError: if several maps do not get the same size, since the strides do not divide the
            image's height and width.

    Example:
        >>> neck = FeatureNeck(256, strides=[16], output_stride=16)
        >>> tuple(neck([np.zeros((1, 4, 4, 320))]).shape)
        (1, 4, 4, 256)

    Source: SAM (arXiv 2304.02643). Departs from the paper: it can take several maps.
    """

    def __init__(self, hidden_dim, strides, output_stride, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.strides = tuple(strides)
        self.output_stride = output_stride
        dtype = self.dtype_policy
        self.laterals, self.upsamplings = [], []
        for i, stride in enumerate(self.strides):
            step = max(output_stride // stride, 1)
            self.laterals.append(
                Conv2D(
                    hidden_dim,
                    step,
                    strides=step,
                    use_bias=False,
                    name=f"lateral_{i}",
                    dtype=dtype,
                )
            )
            self.upsamplings.append(
                BilinearUpsampling(max(stride // output_stride, 1), name=f"up_{i}", dtype=dtype)
            )
        self.conv = Conv2D(hidden_dim, 3, pad=1, use_bias=False, name="conv", dtype=dtype)
        self.norm_1, self.norm_2 = (
            keras.layers.LayerNormalization(
                epsilon=CHANNEL_NORM_EPSILON, name=f"norm_{i}", dtype=dtype
            )
            for i in (1, 2)
        )

    def build(self, input_shape):
        for lateral, upsampling, shape in zip(
            self.laterals, self.upsamplings, input_shape, strict=True
        ):
            lateral.build(shape)
            # It has no weights, but must be built: Keras on JAX first runs a model with an unbuilt
            # layer once, operation by operation.
            upsampling.build(lateral.compute_output_shape(shape))
        merged = (None, None, None, self.hidden_dim)
        for layer in (self.norm_1, self.conv, self.norm_2):
            layer.build(merged)
        self.built = True

    def call(self, features):
        maps = [
            upsampling(lateral(x))
            for x, lateral, upsampling in zip(
                features, self.laterals, self.upsamplings, strict=True
            )
        ]
        sizes = {tuple(x.shape[1:3]) for x in maps if None not in x.shape[1:3]}
        if len(sizes) > 1:
            found = " and ".join(f"{height} x {width}" for height, width in sorted(sizes))
            raise InputError(
                f"The feature maps of strides {self.strides} become {found} at stride "
                f"{self.output_stride}; give images whose height and width are multiples of "
                f"{max(*self.strides, self.output_stride)}."
            )
        x = maps[0]
        for other in maps[1:]:
            x = x + other
        return self.norm_2(self.conv(self.norm_1(x)))

    def compute_output_shape(self, input_shape):
        batch, height, width, _ = input_shape[0]
        stride = self.strides[0]

        def resized(size):
            return None if size is None else size * stride // self.output_stride

        return (batch, resized(height), resized(width), self.hidden_dim)

    def get_config(self):
        return {
            **super().get_config(),
            "hidden_dim": self.hidden_dim,
            "strides": self.strides,
            "output_stride": self.output_stride,
        }
