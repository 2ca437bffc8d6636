"""Dice plus cross-entropy of targets that exclude each other, per image."""

import keras
import numpy as np
from keras import ops

from keras_espmedsam.losses.dice_loss import soft_dice, weighted_dice_loss
from keras_espmedsam.losses.parts import as_float32_and_weights, mean_per_image
from keras_espmedsam.losses.pixel_loss import PixelLoss
from keras_espmedsam.ops.device_constant import device_constant, device_number

# The smallest share of the background in what the most probable target leaves. Logits in float32
# tell no smaller one.
_SMALLEST_SHARE = 1e-6


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DiceCELoss(PixelLoss):
    """Dice of each target, averaged, plus the cross-entropy of targets and background.

    Each pixel belongs to one of the targets or to the background, such as arteries, veins or
    neither. The logits are those that a segmenter gives for an exclusive group: their sigmoid is
    the softmax probability of the target, and the background has what is left of 1. With one
    channel it is Dice plus binary cross-entropy.

    The background has no Dice term, as it is no target; it counts in the cross-entropy.

    Args:
        dice_weight, cross_entropy_weight: float.
        smoothing: float. Added to numerator and denominator of Dice, so that empty masks are
            defined.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1}, at most one 1 per pixel, and logits `y_pred`,
    `(batch, height, width, targets)`.
    `sample_weight`: `(batch,)`, or per pixel `(batch, height, width[, 1 or targets])`; of a pixel's
    weights the smallest counts. See `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> arteries_and_veins = np.array([[[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]]])
        >>> round(float(DiceCELoss()(arteries_and_veins, 100 * arteries_and_veins - 50)), 4)
        0.0

    Source: nnU-Net (Isensee et al., arXiv 1809.10486), the sum of Dice and cross-entropy.
    """

    takes_several_targets = True

    def __init__(
        self,
        dice_weight=1.0,
        cross_entropy_weight=1.0,
        smoothing=1.0,
        reduction="sum_over_batch_size",
        name="dice_ce_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.dice_weight = dice_weight
        self.cross_entropy_weight = cross_entropy_weight
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        pixel = None
        if weights is not None:
            # A pixel whose class is known for some targets only is one of unknown class.
            pixel = ops.min(weights, axis=-1, keepdims=True)
            weights = ops.broadcast_to(pixel, ops.shape(y_pred))
        axis = tuple(range(1, len(y_pred.shape) - 1))
        if weights is None:
            dice = 1 - soft_dice(y_true, y_pred, self.smoothing, axis)
        else:
            dice = weighted_dice_loss(y_true, y_pred, self.smoothing, weights, axis)
        cross_entropy = mean_per_image(softmax_cross_entropy(y_true, y_pred), pixel)
        return (
            self.dice_weight * ops.mean(dice, axis=-1) + self.cross_entropy_weight * cross_entropy
        )

    def get_config(self):
        return {
            **super().get_config(),
            "dice_weight": self.dice_weight,
            "cross_entropy_weight": self.cross_entropy_weight,
            "smoothing": self.smoothing,
        }


def softmax_cross_entropy(y_true, logits):
    """Return the cross-entropy of targets and background, finite for any logits.

    Args:
        y_true, logits: float32 tensors `(..., targets)`, the logits as for `DiceCELoss`.

    Returns:
        Tensor `(..., 1)`.
    """
    zero = device_number(0, like=logits)
    of_targets = -ops.softplus(-logits)
    background = ops.maximum(1 - ops.sum(y_true, axis=-1, keepdims=True), zero)
    return -ops.sum(y_true * of_targets, axis=-1, keepdims=True) - background * _log_background(
        logits, of_targets
    )


def _log_background(logits, of_targets):
    """Return the log of `1 - sum(p)`, from the logits and logs of the targets' `p`.

    The difference would round to 0 where a target is almost certain. So it is taken from what the
    most probable target leaves, whose log its logit tells exactly.
    """
    zero = device_number(0, like=logits)
    left = -ops.softplus(ops.max(logits, axis=-1, keepdims=True))
    places = device_constant(_channels, logits.shape[-1], like=logits)
    most = ops.equal(ops.expand_dims(ops.argmax(logits, axis=-1), -1), places)
    # Of logits that are no softmax's, the sum of two targets may exceed 1.
    others = ops.exp(ops.minimum(of_targets - left, zero))
    others = ops.sum(ops.where(most, zero, others), axis=-1, keepdims=True)
    return left + ops.log1p(-ops.minimum(others, device_number(1 - _SMALLEST_SHARE, like=others)))


def _channels(number):
    return np.arange(number, dtype="int32")
