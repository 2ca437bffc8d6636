"""Metrics of binary masks during training."""

from keras_espmedsam.metrics.mask_overlap import DiceScore, ForegroundIoU
from keras_espmedsam.metrics.target_dice import TargetDice

__all__ = ["DiceScore", "ForegroundIoU", "TargetDice"]
