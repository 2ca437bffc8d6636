"""Cross-entropy of the patch map, per image."""

import keras
from keras import ops

from keras_espmedsam.losses.parts import (
    as_float32_and_weights,
    cross_entropy,
    each_image,
    mean_per_image,
    only_known,
)
from keras_espmedsam.losses.pixel_loss import PixelLoss
from keras_espmedsam.losses.weights import mean_weight


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class PatchLoss(PixelLoss):
    """Binary cross-entropy of patch logits, averaged over the known patches of each image.

    `keras.losses.BinaryCrossentropy` returns one value per patch, to which a weight per image does
    not broadcast.

    Args:
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1}, or -1 where it is unknown, and logits `y_pred`,
    `(batch, rows, columns, 1)`, or a channel for each target. Unknown patches change neither value
    nor gradient.
    `sample_weight`: `(batch,)`, or `(batch, rows, columns[, 1])` per patch; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> round(float(PatchLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.6931

    Source: ESP-MedSAM (arXiv 2407.14153), for the target of its self-patch prompts.
    """

    takes_several_targets = True

    def __init__(self, reduction="sum_over_batch_size", name="patch_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        y_true, y_pred, known = only_known(y_true, y_pred)
        values = cross_entropy(y_true, y_pred)
        if weights is not None:
            return mean_per_image(values, known * weights)
        # Not the mean with weights of `known`: where all are, it may differ in the last digit from
        # that of version 0.1.0, of which this is the same.
        _, number = mean_weight(known, each_image(known))
        share = ops.sum(ops.ones_like(known), axis=each_image(known)) / number
        return mean_per_image(known * values) * share
