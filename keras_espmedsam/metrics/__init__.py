"""Metrics of binary masks during training."""

from keras_espmedsam.metrics.mask_overlap import DiceScore, ForegroundIoU

__all__ = ["DiceScore", "ForegroundIoU"]
