"""Losses for binary masks of logits, and for features that a student learns from a teacher."""

from keras_espmedsam.losses.cosine_embedding_loss import CosineEmbeddingLoss
from keras_espmedsam.losses.dice_focal_loss import DiceFocalLoss, PublishedDiceFocalLoss
from keras_espmedsam.losses.dice_loss import BatchDiceLoss, DiceLoss
from keras_espmedsam.losses.embedding_mse import EmbeddingMSE
from keras_espmedsam.losses.focal_loss import FocalLoss, MeanFocalLoss
from keras_espmedsam.losses.normalized_mse import NormalizedMSE
from keras_espmedsam.losses.patch_loss import PatchLoss
from keras_espmedsam.losses.segmentation_losses import get

__all__ = [
    "BatchDiceLoss",
    "CosineEmbeddingLoss",
    "DiceFocalLoss",
    "DiceLoss",
    "EmbeddingMSE",
    "FocalLoss",
    "MeanFocalLoss",
    "NormalizedMSE",
    "PatchLoss",
    "PublishedDiceFocalLoss",
    "get",
]
