"""The mask loss of ESP-MedSAM, a weighted sum of Dice and focal: per image, and as published."""

import keras

from keras_espmedsam.losses.batch_loss import BatchLoss
from keras_espmedsam.losses.dice_loss import BatchDiceLoss, DiceLoss
from keras_espmedsam.losses.focal_loss import FocalLoss, MeanFocalLoss
from keras_espmedsam.losses.pixel_loss import PixelLoss


class _WeightedSum:
    """The sum of `self.dice` and `self.focal` with their weights, used by both forms."""

    def call(self, y_true, y_pred):
        dice = self.dice.call(y_true, y_pred)
        return self.dice_weight * dice + self.focal_weight * self.focal.call(y_true, y_pred)

    def get_config(self):
        return {
            **super().get_config(),
            "dice_weight": self.dice_weight,
            "focal_weight": self.focal_weight,
        }


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DiceFocalLoss(_WeightedSum, PixelLoss):
    """`dice_weight * DiceLoss + focal_weight * FocalLoss`, per image.

    Args:
        dice_weight, focal_weight: float.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> float(DiceFocalLoss()(np.ones((1, 2, 2, 1)), np.full((1, 2, 2, 1), 50.0)))
        0.0

    Source: ESP-MedSAM (arXiv 2407.14153) and its sibling projects, the weights 0.8 and 0.2.
    """

    def __init__(
        self,
        dice_weight=0.8,
        focal_weight=0.2,
        reduction="sum_over_batch_size",
        name="dice_focal_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.dice_weight = dice_weight
        self.focal_weight = focal_weight
        self.dice = DiceLoss()
        self.focal = FocalLoss()


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PublishedDiceFocalLoss(_WeightedSum, BatchLoss):
    """`dice_weight * BatchDiceLoss + focal_weight * MeanFocalLoss`, over the whole batch.

    `DiceFocalLoss`, the default, is the same sum computed per image and per pixel.

    Args:
        dice_weight, focal_weight: float.
        reduction, name: see `keras.losses.Loss`; there is one value to reduce.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    Output: a scalar.

    Raises:
        InputError: for shapes that differ, or a `sample_weight`.

    Example:
        >>> float(PublishedDiceFocalLoss()(np.ones((1, 2, 2, 1)), np.full((1, 2, 2, 1), 50.0)))
        0.0

    Source: ESP-MedSAM (arXiv 2407.14153) and the training code of its sibling projects.
    """

    def __init__(
        self,
        dice_weight=0.8,
        focal_weight=0.2,
        reduction="sum_over_batch_size",
        name="published_dice_focal_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.dice_weight = dice_weight
        self.focal_weight = focal_weight
        self.dice = BatchDiceLoss()
        self.focal = MeanFocalLoss()
