"""Losses for binary masks of logits, and for features that a student learns from a teacher."""

from keras_espmedsam.losses.boundary_loss import BoundaryLoss
from keras_espmedsam.losses.cl_dice_loss import ClDiceLoss
from keras_espmedsam.losses.cosine_embedding_loss import CosineEmbeddingLoss
from keras_espmedsam.losses.dice_ce_loss import DiceCELoss
from keras_espmedsam.losses.dice_focal_loss import DiceFocalLoss, PublishedDiceFocalLoss
from keras_espmedsam.losses.dice_loss import BatchDiceLoss, DiceLoss
from keras_espmedsam.losses.embedding_mse import EmbeddingMSE
from keras_espmedsam.losses.focal_loss import FocalLoss, MeanFocalLoss
from keras_espmedsam.losses.focal_tversky_loss import FocalTverskyLoss
from keras_espmedsam.losses.normalized_mse import NormalizedMSE
from keras_espmedsam.losses.patch_loss import PatchLoss
from keras_espmedsam.losses.per_target_loss import PerTargetLoss
from keras_espmedsam.losses.segmentation_losses import get
from keras_espmedsam.losses.tversky_loss import TverskyLoss

__all__ = [
    "BatchDiceLoss",
    "BoundaryLoss",
    "ClDiceLoss",
    "CosineEmbeddingLoss",
    "DiceCELoss",
    "DiceFocalLoss",
    "DiceLoss",
    "EmbeddingMSE",
    "FocalLoss",
    "FocalTverskyLoss",
    "MeanFocalLoss",
    "NormalizedMSE",
    "PatchLoss",
    "PerTargetLoss",
    "PublishedDiceFocalLoss",
    "TverskyLoss",
    "get",
]
