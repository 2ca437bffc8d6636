"""Published checkpoints to presets of this package."""

from keras_espmedsam.checkpoints.espmedsam import convert_espmedsam
from keras_espmedsam.checkpoints.keras_hub_sam import convert_keras_hub_sam
from keras_espmedsam.checkpoints.mobilesam import convert_mobilesam
from keras_espmedsam.checkpoints.reader import read_checkpoint
from keras_espmedsam.checkpoints.sam import convert_sam

__all__ = [
    "convert_espmedsam",
    "convert_keras_hub_sam",
    "convert_mobilesam",
    "convert_sam",
    "read_checkpoint",
]
