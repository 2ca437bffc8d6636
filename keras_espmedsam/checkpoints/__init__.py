"""Published PyTorch checkpoints to presets of this package."""

from keras_espmedsam.checkpoints.espmedsam import convert_espmedsam
from keras_espmedsam.checkpoints.mobilesam import convert_mobilesam
from keras_espmedsam.checkpoints.reader import read_checkpoint

__all__ = ["convert_espmedsam", "convert_mobilesam", "read_checkpoint"]
