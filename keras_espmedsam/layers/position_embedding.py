"""A learned vector for each position of the map."""

import keras
from keras import ops

from keras_espmedsam.ops.device_constant import device_constant
from keras_espmedsam.ops.linear_resize import resize_matrix


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PositionEmbedding(keras.layers.Layer):
    """Add a table of vectors to a map of fixed size.

    Args:
        table_size: (height, width) of the table, or `None` for that of the map. A table of another
            size is resized linearly; its weights do not change.

    Input: `(batch, height, width, channels)`. Output shape: that of the input.

    Example:
        >>> tuple(PositionEmbedding()(np.ones((1, 4, 6, 8))).shape)
        (1, 4, 6, 8)

    Source: SAM (arXiv 2304.02643). Departs from the paper: the table can be resized.
    """

    def __init__(self, table_size=None, **kwargs):
        super().__init__(**kwargs)
        self.table_size = tuple(table_size) if table_size is not None else None

    def build(self, input_shape):
        size = tuple(input_shape[1:3])
        table_size = self.table_size or size
        self.table = self.add_weight(
            shape=(*table_size, input_shape[-1]), initializer="zeros", name="table"
        )
        # Decided here, so that the usual case is a single addition.
        self.resizing = None
        if table_size != size:
            self.resizing = list(zip(table_size, size, strict=True))
        self.built = True

    def call(self, x):
        table = ops.cast(self.table, x.dtype)
        if self.resizing is not None:
            rows, columns = (
                ops.cast(device_constant(resize_matrix, *lengths, like=x), x.dtype)
                for lengths in self.resizing
            )
            table = ops.einsum("yh,xw,hwc->yxc", rows, columns, table)
        return x + table

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "table_size": self.table_size}
