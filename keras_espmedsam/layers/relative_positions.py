"""Decomposed relative positions: a query's bias by distance in rows and in columns."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.ops.device_constant import device_constant
from keras_espmedsam.ops.linear_resize import resize_matrix


def key_places(height, width):
    """Return the row and the column of each key of a map, one-hot.

    Args:
        height, width: int. Size of the map.

    Returns:
        float32 array `(height * width, height + width)` of two ones in each row.
    """
    y, x = np.divmod(np.arange(height * width), width)
    return np.concatenate([np.eye(height)[y], np.eye(width)[x]], axis=1).astype("float32")


def _distances(size):
    """Return `(size, size)` indices into the table, by position of query and key."""
    places = np.arange(size)
    return places[:, None] - places[None] + size - 1


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class RelativePositions(keras.layers.Layer):
    """The bias of every query towards each row and each column of its map.

    The bias of a query towards a key is the sum of two: one for the key's row and one for its
    column, each the product of the query with a learned vector for the distance.

    Args:
        table_size: (height, width) of the map whose distances have vectors, or `None` for that of
            the input. Tables of another size are resized linearly; their weights do not change.

    Input: queries, `(batch, heads, height, width, channels)`.
    Output shape: `(batch, heads, height * width, height + width)`.

    Example:
        >>> tuple(RelativePositions()(np.ones((1, 2, 4, 6, 8))).shape)
        (1, 2, 24, 10)

    Source: SAM (arXiv 2304.02643), from MViTv2 (arXiv 2112.01526).
    """

    def __init__(self, table_size=None, **kwargs):
        super().__init__(**kwargs)
        self.table_size = tuple(table_size) if table_size is not None else None

    def build(self, input_shape):
        *size, channels = input_shape[2:]
        table_size = self.table_size or tuple(size)
        self.rows, self.columns = (
            self.add_weight(
                shape=(2 * length - 1, channels), initializer="zeros", name=f"rel_pos_{axis}"
            )
            for axis, length in zip("hw", table_size, strict=True)
        )
        # Lengths of the tables if they are resized.
        self.resizing = [
            (2 * source - 1, 2 * target - 1) if source != target else None
            for source, target in zip(table_size, size, strict=True)
        ]
        self.built = True

    def call(self, queries):
        batch, heads, height, width, _ = ops.shape(queries)
        rows, columns = (
            self._vectors(table, size, resizing, like=queries)
            for table, size, resizing in zip(
                (self.rows, self.columns), (height, width), self.resizing, strict=True
            )
        )
        by_row = ops.einsum("bnhwc,hkc->bnhwk", queries, rows)
        by_column = ops.einsum("bnhwc,wkc->bnhwk", queries, columns)
        biases = ops.concatenate([by_row, by_column], axis=-1)
        return ops.reshape(biases, (batch, heads, height * width, height + width))

    def _vectors(self, table, size, resizing, like):
        """Return `(size, size, channels)`: for each query position, vectors of all keys."""
        table = ops.cast(table, self.compute_dtype)
        if resizing is not None:
            matrix = device_constant(resize_matrix, *resizing, like=like)
            table = ops.matmul(ops.cast(matrix, table.dtype), table)
        return ops.take(table, device_constant(_distances, size, like=like), axis=0)

    def compute_output_shape(self, input_shape):
        batch, heads, height, width, _ = input_shape
        return (batch, heads, height * width, height + width)

    def get_config(self):
        return {**super().get_config(), "table_size": self.table_size}
