"""Losses for binary masks of logits."""

from keras_espmedsam.losses.dice_focal_loss import DiceFocalLoss
from keras_espmedsam.losses.dice_loss import DiceLoss
from keras_espmedsam.losses.focal_loss import FocalLoss
from keras_espmedsam.losses.patch_loss import PatchLoss

__all__ = ["DiceFocalLoss", "DiceLoss", "FocalLoss", "PatchLoss"]
