"""Pictures, masks and indexes of them. Importing this imports neither Keras nor a backend."""

from keras_espmedsam.data.index import Record, read_index
from keras_espmedsam.data.masks import read_mask, write_mask
from keras_espmedsam.data.overlay import draw_overlay, write_overlay
from keras_espmedsam.data.picture import Picture
from keras_espmedsam.data.pictures import (
    MAX_PIXELS,
    inspect_picture_file,
    read_picture,
    read_pictures,
)

__all__ = [
    "MAX_PIXELS",
    "Picture",
    "Record",
    "draw_overlay",
    "inspect_picture_file",
    "read_index",
    "read_mask",
    "read_picture",
    "read_pictures",
    "write_mask",
    "write_overlay",
]
