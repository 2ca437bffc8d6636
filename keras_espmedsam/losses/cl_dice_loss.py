"""Dice of centre lines plus Dice of masks, for thin and branching targets, per image."""

import keras
from keras import ops

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.dice_loss import DiceLoss
from keras_espmedsam.losses.parts import as_float32_and_weights, each_image
from keras_espmedsam.losses.pixel_loss import PixelLoss
from keras_espmedsam.losses.weights import mean_weight
from keras_espmedsam.ops.device_constant import device_number


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ClDiceLoss(PixelLoss):
    """`dice_weight * DiceLoss + cl_dice_weight * (1 - clDice)`, per image.

    clDice is the harmonic mean of two shares: of the predicted centre line that is inside the true
    mask, and of the true centre line that is inside the predicted one. A gap in a thin vessel
    costs as much as in a thick one. The centre lines are soft, by erosion and opening.

    Args:
        iterations: int. Erosions; at least the radius in pixels of the thickest vessel.
        dice_weight, cl_dice_weight: float.
        smoothing: float. Added to numerator and denominator of the shares and of Dice.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for `iterations` that are no whole number from 0, shapes that differ, and a
            `sample_weight` of another shape.

    Example:
        >>> vessel = np.zeros((1, 5, 9, 1))
        >>> vessel[:, 2] = 1
        >>> round(float(ClDiceLoss()(vessel, 100 * vessel - 50)), 4)
        0.0

    Source: Shit et al. (arXiv 2003.07311).
    """

    def __init__(
        self,
        iterations=3,
        dice_weight=0.5,
        cl_dice_weight=0.5,
        smoothing=1.0,
        reduction="sum_over_batch_size",
        name="cl_dice_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        if not isinstance(iterations, int) or iterations < 0:
            raise InputError(
                f"ClDiceLoss received iterations={shown_value(iterations)}; expected a whole "
                "number from 0."
            )
        self.iterations = iterations
        self.dice_weight = dice_weight
        self.cl_dice_weight = cl_dice_weight
        self.smoothing = smoothing
        self.dice = DiceLoss(smoothing)

    def call(self, y_true, y_pred):
        dice = self.dice.call(y_true, y_pred)
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        return self.dice_weight * dice + self.cl_dice_weight * self._cl_dice(
            y_true, ops.sigmoid(y_pred), weights
        )

    def _cl_dice(self, y_true, probability, weights):
        axis, weight, smoothing, known = each_image(probability), 1, self.smoothing, None
        if weights is not None:
            known = weights > 0
            weight, _ = mean_weight(weights, axis)
            # Like the overlaps, so that the loss does not depend on the weights' scale.
            smoothing = smoothing * weight

        def share(line, mask):
            line = line if weights is None else weights * line
            inside, whole = ops.sum(line * mask, axis=axis), ops.sum(line, axis=axis)
            return _ratio(inside + smoothing, whole + smoothing)

        precision = share(soft_skeleton(probability, self.iterations, known), y_true)
        sensitivity = share(soft_skeleton(y_true, self.iterations, known), probability)
        return weight * (1 - _ratio(2 * precision * sensitivity, precision + sensitivity))

    def get_config(self):
        return {
            **super().get_config(),
            "iterations": self.iterations,
            "dice_weight": self.dice_weight,
            "cl_dice_weight": self.cl_dice_weight,
            "smoothing": self.smoothing,
        }


def soft_skeleton(mask, iterations, known=None):
    """Return how much each pixel belongs to the centre line of a soft mask.

    Args:
        mask: float32 tensor `(batch, height, width, 1)` from 0 to 1.
        iterations: int. Erosions.
        known: bool tensor of the same shape, or `None`. The pixels that count; the others are left
            out, as those beyond the edges are.

    Returns:
        Tensor of the same shape, from 0 to 1.

    Source: Shit et al. (arXiv 2003.07311), algorithm 1.
    """
    zero, one = (device_number(value, like=mask) for value in (0.0, 1.0))

    # The images as channels, which pooling on a CPU computes several of at a time.
    mask, known = (None if x is None else ops.transpose(x, (3, 1, 2, 0)) for x in (mask, known))

    def pooled(x, *size):
        return ops.max_pool(x, size, strides=1, padding="same", data_format="channels_last")

    def eroded(x):
        x = x if known is None else ops.where(known, x, one)
        return -ops.maximum(pooled(-x, 3, 1), pooled(-x, 1, 3))

    def beyond_opening(x, erosion):
        erosion = erosion if known is None else ops.where(known, erosion, zero)
        return ops.relu(x - pooled(erosion, 3, 3))

    erosion = eroded(mask)
    skeleton = beyond_opening(mask, erosion)
    for _ in range(iterations):
        mask, erosion = erosion, eroded(erosion)
        more = beyond_opening(mask, erosion)
        skeleton = skeleton + ops.relu(more - skeleton * more)
    return ops.transpose(skeleton, (3, 1, 2, 0))


def _ratio(part, whole):
    """Return `part / whole`, and 1 of nothing."""
    one = device_number(1, like=whole)
    return ops.where(whole > 0, part / ops.where(whole > 0, whole, one), one)
