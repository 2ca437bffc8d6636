"""Tversky loss of mask logits, which weighs what is missed and what is too much, per image."""

import keras
from keras import ops

from keras_espmedsam.losses.parts import as_float32_and_weights, each_image
from keras_espmedsam.losses.pixel_loss import PixelLoss
from keras_espmedsam.losses.weights import mean_weight
from keras_espmedsam.ops.device_constant import device_number


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class TverskyLoss(PixelLoss):
    """One minus the soft Tversky index of each image.

    Dice that weighs false positives and false negatives each by a factor of its own. With both
    at 0.5 it is Dice; a larger `beta` finds more of small targets.

    Args:
        alpha: float. Weight of false positives.
        beta: float. Weight of false negatives.
        smoothing: float. Added to numerator and denominator, so that empty masks are defined.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> round(float(TverskyLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.3182

    Source: Salehi et al. (arXiv 1706.05721), with the values 0.3 and 0.7.
    """

    def __init__(
        self,
        alpha=0.3,
        beta=0.7,
        smoothing=1.0,
        reduction="sum_over_batch_size",
        name="tversky_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.alpha = alpha
        self.beta = beta
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        missing, weight = tversky_distance(
            *as_float32_and_weights(self, y_true, y_pred), self.alpha, self.beta, self.smoothing
        )
        return missing if weight is None else weight * missing

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "smoothing": self.smoothing,
        }


def tversky_distance(y_true, logits, weights, alpha, beta, smoothing):
    """Return one minus each image's Tversky index, and its pixels' mean weight, or `None`."""
    axis = each_image(logits)
    weight = None
    if weights is not None:
        weight, _ = mean_weight(weights, axis)
        # The index does not depend on the weights' scale, but the smoothing assumes weights of 1.
        smoothing = smoothing * weight

    def total(x):
        return ops.sum(x if weights is None else weights * x, axis=axis)

    probability = ops.sigmoid(logits)
    hit = total(probability * y_true)
    # Not one minus the index, which would round off what is left near 1, and with it the focal
    # form's power; nor `1 - probability`.
    missing = alpha * total(probability * (1 - y_true)) + beta * total(
        ops.sigmoid(-logits) * y_true
    )
    whole = hit + missing + smoothing
    # Without smoothing, two empty masks have nothing in common and nothing that differs.
    return missing / ops.where(whole > 0, whole, device_number(1, like=whole)), weight
