"""Soft Dice loss of mask logits: per image, and over the whole batch as published."""

import keras
from keras import ops

from keras_espmedsam.losses.batch_loss import BatchLoss
from keras_espmedsam.losses.parts import as_float32, as_float32_and_weights, each_image
from keras_espmedsam.losses.pixel_loss import PixelLoss
from keras_espmedsam.losses.weights import mean_weight
from keras_espmedsam.ops.device_constant import device_number


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DiceLoss(PixelLoss):
    """One minus the soft Dice overlap of each image.

    Args:
        smoothing: float. Added to numerator and denominator, so that empty masks are defined.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> float(DiceLoss()(np.ones((1, 2, 2, 1)), np.full((1, 2, 2, 1), 50.0)))
        0.0

    Source: Milletari et al. (arXiv 1606.04797), with the sum form of the denominator. Departs from
    the ESP-MedSAM code, which computes it over the whole batch (`BatchDiceLoss`).
    """

    def __init__(self, smoothing=1.0, reduction="sum_over_batch_size", name="dice_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        if weights is not None:
            return weighted_dice_loss(
                y_true, y_pred, self.smoothing, weights, axis=each_image(y_pred)
            )
        return 1 - soft_dice(y_true, y_pred, self.smoothing, axis=each_image(y_pred))

    def get_config(self):
        return {**super().get_config(), "smoothing": self.smoothing}


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class BatchDiceLoss(BatchLoss):
    """One minus the soft Dice overlap of all images of the batch as one.

    Large targets outweigh small ones, and the value depends on which images share a batch;
    `DiceLoss` computes it per image. On several devices each computes it for its own part.

    Args:
        smoothing: float. Added to numerator and denominator.
        reduction, name: see `keras.losses.Loss`; there is one value to reduce.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    Output: a scalar.

    Raises:
        InputError: for shapes that differ, or a `sample_weight`.

    Example:
        >>> y_true = np.array([1.0, 0.0]).reshape(2, 1, 1, 1)
        >>> round(float(BatchDiceLoss()(y_true, np.zeros((2, 1, 1, 1)))), 4)
        0.3333

    Source: the training code of ESP-MedSAM's sibling projects (see arXiv 2407.14153).
    """

    def __init__(
        self, smoothing=1.0, reduction="sum_over_batch_size", name="batch_dice_loss", **kwargs
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        y_true, y_pred = as_float32(self, y_true, y_pred)
        return ops.expand_dims(1 - soft_dice(y_true, y_pred, self.smoothing), 0)

    def get_config(self):
        return {**super().get_config(), "smoothing": self.smoothing}


def soft_dice(y_true, logits, smoothing, axis=None):
    """Return the soft Dice overlap of masks and logits, over the given axes or all of them."""
    probability = ops.sigmoid(logits)
    overlap = ops.sum(probability * y_true, axis=axis)
    total = ops.sum(probability, axis=axis) + ops.sum(y_true, axis=axis)
    return (2 * overlap + smoothing) / (total + smoothing)


def weighted_dice_loss(y_true, logits, smoothing, weights, axis):
    """Return one minus the soft Dice overlap of weighted pixels, times their mean weight."""
    mean, _ = mean_weight(weights, axis)
    # The overlap does not depend on the weights' scale, but the smoothing assumes weights of 1.
    smoothing = smoothing * mean
    probability = weights * ops.sigmoid(logits)
    overlap = ops.sum(probability * y_true, axis=axis)
    total = ops.sum(probability, axis=axis) + ops.sum(weights * y_true, axis=axis)
    # If no pixel counts, the loss is 0.
    divisor = ops.where(mean > 0, total + smoothing, device_number(1, like=total))
    dice = (2 * overlap + smoothing) / divisor
    return mean * (1 - dice)
