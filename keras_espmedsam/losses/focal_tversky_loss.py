"""Tversky loss raised to a power, per image."""

import keras
from keras import ops

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.parts import as_float32_and_weights
from keras_espmedsam.losses.pixel_loss import PixelLoss
from keras_espmedsam.losses.tversky_loss import tversky_distance
from keras_espmedsam.ops.device_constant import device_number

# Below it the loss is 0: the power's gradient at 0 is infinite.
_SMALLEST = 1e-12


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class FocalTverskyLoss(PixelLoss):
    """`TverskyLoss` of each image to the power `1 / gamma`.

    With `gamma` above 1, the loss stays high until an image is almost right, so that small targets
    which are nearly found are still learned.

    Args:
        alpha: float. Weight of false positives.
        beta: float. Weight of false negatives.
        gamma: float above 0.
        smoothing: float. Added to numerator and denominator, so that empty masks are defined.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for a `gamma` that is not above 0, shapes that differ, and a `sample_weight` of
            another shape.

    Example:
        >>> round(float(FocalTverskyLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.4236

    Source: Abraham and Khan (arXiv 1810.07842), whose alpha is the weight of false negatives.
    """

    def __init__(
        self,
        alpha=0.3,
        beta=0.7,
        gamma=4 / 3,
        smoothing=1.0,
        reduction="sum_over_batch_size",
        name="focal_tversky_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        if not isinstance(gamma, int | float) or not gamma > 0:
            raise InputError(
                f"FocalTverskyLoss received gamma={shown_value(gamma)}; expected a number above 0."
            )
        self.alpha = alpha
        self.beta = beta
        self.gamma = gamma
        self.smoothing = smoothing

    def call(self, y_true, y_pred):
        missing, weight = tversky_distance(
            *as_float32_and_weights(self, y_true, y_pred), self.alpha, self.beta, self.smoothing
        )
        least, zero = (device_number(value, like=missing) for value in (_SMALLEST, 0))
        power = ops.exp(ops.log(ops.maximum(missing, least)) / self.gamma)
        values = ops.where(missing > least, power, zero)
        return values if weight is None else weight * values

    def get_config(self):
        return {
            **super().get_config(),
            "alpha": self.alpha,
            "beta": self.beta,
            "gamma": self.gamma,
            "smoothing": self.smoothing,
        }
