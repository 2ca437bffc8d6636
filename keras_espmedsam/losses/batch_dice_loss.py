"""Soft Dice loss of mask logits over the whole batch, as published."""

import keras
from keras import ops

from keras_espmedsam.losses.batch_loss import BatchLoss
from keras_espmedsam.losses.parts import as_float32, soft_dice


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class BatchDiceLoss(BatchLoss):
    """One minus the soft Dice overlap of all images of the batch taken as one.

    Large targets outweigh small ones, and the value depends on which images share a batch;
    `DiceLoss` is the form per image. On several devices each takes its own part of the batch.

    Args:
        smoothing: float. Added to both sides of the fraction.
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
