"""Fine feature maps of the image, for structures smaller than a step of the embedding."""

import keras
from keras import ops

from keras_espmedsam.layers.convolution import Conv2D


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DetailBranch(keras.layers.Layer):
    """3 x 3 convolutions of the image with ReLU, at strides 1, 2, 4, ...

    `QueryDecoupledModalityDecoder` adds the maps as it upsamples the embedding. At a stride of 8, a
    vessel of one pixel has disappeared, and no decoder can recover it.

    Args:
        dims: tuple of int. Width of the map at each stride, from 1 on.

    Input shape: `(batch, height, width, 3)`, height and width multiples of the last stride.
    Output: list of maps `(batch, height / stride, width / stride, width of the map)`.

    Example:
        >>> maps = DetailBranch((8, 16))(np.zeros((1, 32, 64, 3)))
        >>> [tuple(one.shape) for one in maps]
        [(1, 32, 64, 8), (1, 16, 32, 16)]

    Source: BiSeNet V2 (arXiv 2004.02147), whose branch of this name is deeper.
    """

    def __init__(self, dims, **kwargs):
        super().__init__(**kwargs)
        self.dims = tuple(dims)
        self.convs = [
            Conv2D(
                dim,
                3,
                strides=1 if i == 0 else 2,
                pad=1,
                name=f"conv_{i}",
                dtype=self.dtype_policy,
            )
            for i, dim in enumerate(self.dims)
        ]

    def build(self, input_shape):
        channels = input_shape[-1]
        for conv in self.convs:
            conv.build((None, None, None, channels))
            channels = conv.filters
        self.built = True

    def call(self, images):
        maps, x = [], images
        for conv in self.convs:
            # At full resolution an exact GELU and its gradient take a tenth of a training step.
            x = ops.relu(conv(x))
            maps.append(x)
        return maps

    def compute_output_spec(self, images):
        batch, height, width, _ = images.shape

        def divided(size, stride):
            return None if size is None else size // stride

        return [
            keras.KerasTensor(
                (batch, divided(height, 2**i), divided(width, 2**i), dim), dtype=self.compute_dtype
            )
            for i, dim in enumerate(self.dims)
        ]

    def get_config(self):
        return {**super().get_config(), "dims": self.dims}
