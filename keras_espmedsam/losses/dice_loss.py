"""Soft Dice loss of mask logits, per image."""

import keras

from keras_espmedsam.losses.parts import (
    as_float32_and_weights,
    each_image,
    soft_dice,
    weighted_dice_loss,
)
from keras_espmedsam.losses.pixel_loss import PixelLoss


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DiceLoss(PixelLoss):
    """One minus the soft Dice overlap of each image.

    Args:
        smoothing: float. Added to both sides of the fraction; keeps empty masks defined.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> float(DiceLoss()(np.ones((1, 2, 2, 1)), np.full((1, 2, 2, 1), 50.0)))
        0.0

    Source: Milletari et al. (arXiv 1606.04797), with the sum form of the denominator. The
    published ESP-MedSAM code takes it over the whole batch (`BatchDiceLoss`); per image is ours.
    """

    def __init__(self, smoothing=1.0, reduction="sum_over_batch_size", name="dice_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        if weights is not None:
            return weighted_dice_loss(y_true, y_pred, self.smoothing, weights)
        return 1 - soft_dice(y_true, y_pred, self.smoothing, axis=each_image(y_pred))

    def get_config(self):
        return {**super().get_config(), "smoothing": self.smoothing}
