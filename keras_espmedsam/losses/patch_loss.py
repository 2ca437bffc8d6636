"""Cross-entropy of the patch map, per image."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PatchLoss(keras.losses.Loss):
    """Binary cross-entropy of patch logits, averaged over the patches of each image.

    `keras.losses.BinaryCrossentropy` leaves one value per patch, to which a weight per image
    does not broadcast.

    Args:
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, rows, columns, 1)`.
    Output: `(batch,)` before reduction.

    Example:
        >>> round(float(PatchLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.6931

    Source: ESP-MedSAM (arXiv 2407.14153), the target of its self-patch prompts.
    """

    def __init__(self, reduction="sum_over_batch_size", name="patch_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true = ops.cast(y_true, "float32")
        y_pred = ops.cast(y_pred, "float32")
        cross_entropy = ops.softplus(y_pred) - y_true * y_pred
        return ops.mean(cross_entropy, axis=tuple(range(1, len(y_pred.shape))))
