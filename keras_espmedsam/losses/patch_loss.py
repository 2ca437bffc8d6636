"""Cross-entropy of the patch map, per image."""

import keras

from keras_espmedsam.losses.parts import as_float32_and_weights, cross_entropy, mean_per_image
from keras_espmedsam.losses.pixel_loss import PixelLoss


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PatchLoss(PixelLoss):
    """Binary cross-entropy of patch logits, averaged over the patches of each image.

    `keras.losses.BinaryCrossentropy` leaves one value per patch, to which a weight per image
    does not broadcast.

    Args:
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, rows, columns, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, rows, columns[, 1])` per patch; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> round(float(PatchLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.6931

    Source: ESP-MedSAM (arXiv 2407.14153), the target of its self-patch prompts.
    """

    def __init__(self, reduction="sum_over_batch_size", name="patch_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        return mean_per_image(cross_entropy(y_true, y_pred), weights)
