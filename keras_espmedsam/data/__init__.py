"""Read and write images, masks and data sets. Importing this does not import Keras."""

from typing import TYPE_CHECKING

from keras_espmedsam._files import atomic_path
from keras_espmedsam._renamed import old_attribute
from keras_espmedsam.data.checking import check_records
from keras_espmedsam.data.coco import CocoImage, coco_image, write_coco
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.folder import read_folder
from keras_espmedsam.data.formats.file_format import FileFormat
from keras_espmedsam.data.formats.image_source import Frame, ImageSource
from keras_espmedsam.data.formats.volume import Volume
from keras_espmedsam.data.geojson import write_geojson
from keras_espmedsam.data.images import (
    MAX_PIXELS,
    inspect_image_file,
    read_image,
    read_images,
)
from keras_espmedsam.data.index import read_column, read_index
from keras_espmedsam.data.label_images import write_labels
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.data.masks import read_mask, read_masks, write_mask
from keras_espmedsam.data.object_counts import count_objects, write_counts
from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.data.samples import TargetPixels, read_samples, read_targets
from keras_espmedsam.data.split_by_group import split_by_group
from keras_espmedsam.data.splits import read_splits
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.imaging.overlay import draw_overlay, write_overlay
from keras_espmedsam.imaging.stored_values import Meaning

__all__ = [
    "MAX_PIXELS",
    "CocoImage",
    "DecodedImage",
    "FileFormat",
    "Frame",
    "ImageSource",
    "Layout",
    "Meaning",
    "Record",
    "TargetMask",
    "TargetPixels",
    "Targets",
    "Volume",
    "atomic_path",
    "check_records",
    "coco_image",
    "count_objects",
    "draw_overlay",
    "inspect_image_file",
    "read_folder",
    "read_column",
    "read_index",
    "read_mask",
    "read_masks",
    "read_image",
    "read_images",
    "read_samples",
    "read_splits",
    "read_targets",
    "split_by_group",
    "write_coco",
    "write_counts",
    "write_geojson",
    "write_labels",
    "write_mask",
    "write_overlay",
]


# Hidden from type checkers, so that they report names that do not exist.
if not TYPE_CHECKING:

    def __getattr__(name):
        return old_attribute(__name__, name)
