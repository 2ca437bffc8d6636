"""Losses for binary masks of logits, and for the features of a distillation."""

from keras_espmedsam.losses.cosine_embedding_loss import CosineEmbeddingLoss
from keras_espmedsam.losses.dice_focal_loss import DiceFocalLoss
from keras_espmedsam.losses.dice_loss import DiceLoss
from keras_espmedsam.losses.embedding_mse import EmbeddingMSE
from keras_espmedsam.losses.focal_loss import FocalLoss
from keras_espmedsam.losses.normalized_mse import NormalizedMSE
from keras_espmedsam.losses.patch_loss import PatchLoss

__all__ = [
    "CosineEmbeddingLoss",
    "DiceFocalLoss",
    "DiceLoss",
    "EmbeddingMSE",
    "FocalLoss",
    "NormalizedMSE",
    "PatchLoss",
]
