"""Convert published checkpoints to presets of this package."""

from keras_espmedsam.converters.efficientnet_lite import convert_efficientnet_lite
from keras_espmedsam.converters.espmedsam import convert_espmedsam
from keras_espmedsam.converters.keras_hub_sam import convert_keras_hub_sam
from keras_espmedsam.converters.mobilesam import convert_mobilesam
from keras_espmedsam.converters.reader import read_checkpoint
from keras_espmedsam.converters.sam import convert_sam

__all__ = [
    "convert_efficientnet_lite",
    "convert_espmedsam",
    "convert_keras_hub_sam",
    "convert_mobilesam",
    "convert_sam",
    "read_checkpoint",
]
