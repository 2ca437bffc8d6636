"""Cross-entropy of the patch map, per image."""

import keras
from keras import ops

from keras_espmedsam.losses.parts import as_float32, cross_entropy, each_image


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PatchLoss(keras.losses.Loss):
    """Binary cross-entropy of patch logits, averaged over the patches of each image.

    `keras.losses.BinaryCrossentropy` leaves one value per patch, to which a weight per image
    does not broadcast.

    Args:
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, rows, columns, 1)`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ.

    Example:
        >>> round(float(PatchLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.6931

    Source: ESP-MedSAM (arXiv 2407.14153), the target of its self-patch prompts.
    """

    def __init__(self, reduction="sum_over_batch_size", name="patch_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true, y_pred = as_float32(self, y_true, y_pred)
        return ops.mean(cross_entropy(y_true, y_pred), axis=each_image(y_pred))
