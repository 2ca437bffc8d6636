"""Boundary loss plus Dice of mask logits, per image."""

import keras
from keras import ops

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.dice_loss import DiceLoss
from keras_espmedsam.losses.distance_map import signed_distance
from keras_espmedsam.losses.parts import as_float32_and_weights, mean_per_image
from keras_espmedsam.losses.pixel_loss import PixelLoss


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class BoundaryLoss(PixelLoss):
    """`dice_weight * DiceLoss + boundary_weight * boundary`, per image.

    The boundary term is the mean over pixels of how much is wrong of each, `p - y_true`, times its
    signed distance to the true outline: what is wrong costs more the farther it is from there.

    Args:
        boundary_weight: float. In the paper it grows during training, by 0.01 each epoch.
        dice_weight: float. Alone, the boundary term tends to leave small targets out.
        max_distance: int, in pixels. All that is farther from the outline costs as much as at this
            distance. The time that the distances take is proportional to it.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for a `max_distance` that is no whole number from 1, shapes that differ, and a
            `sample_weight` of another shape.

    Example:
        >>> truth = np.zeros((1, 1, 5, 1))
        >>> truth[..., 0, :] = 1
        >>> far = truth.copy()
        >>> far[..., 4, :] = 1  # Wrong at a distance of 4.
        >>> round(float(BoundaryLoss(1.0, dice_weight=0.0)(truth, 100 * far - 50)), 4)
        0.8

    Source: Kervadec et al. (arXiv 1812.07032). Departs from the paper: the term is 0, not negative,
    where everything is right, which changes no gradient; distances end at `max_distance`, also of
    an image without the target.
    """

    def __init__(
        self,
        boundary_weight=0.01,
        dice_weight=1.0,
        max_distance=32,
        reduction="sum_over_batch_size",
        name="boundary_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        if not isinstance(max_distance, int) or max_distance < 1:
            raise InputError(
                f"BoundaryLoss received max_distance={shown_value(max_distance)}; expected a whole "
                "number of pixels from 1."
            )
        self.boundary_weight = boundary_weight
        self.dice_weight = dice_weight
        self.max_distance = max_distance
        self.dice = DiceLoss()

    def call(self, y_true, y_pred):
        dice = self.dice.call(y_true, y_pred)
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        known = None if weights is None else weights > 0
        distance = signed_distance(y_true, self.max_distance, known)
        boundary = mean_per_image(distance * (ops.sigmoid(y_pred) - y_true), weights)
        return self.dice_weight * dice + self.boundary_weight * boundary

    def get_config(self):
        return {
            **super().get_config(),
            "boundary_weight": self.boundary_weight,
            "dice_weight": self.dice_weight,
            "max_distance": self.max_distance,
        }
