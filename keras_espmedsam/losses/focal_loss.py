"""Focal loss of mask logits: per pixel, and of the mean cross-entropy as published."""

import keras
from keras import ops

from keras_espmedsam.losses.batch_loss import BatchLoss
from keras_espmedsam.losses.parts import (
    as_float32,
    as_float32_and_weights,
    cross_entropy,
    mean_per_image,
)
from keras_espmedsam.losses.pixel_loss import PixelLoss


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class FocalLoss(PixelLoss):
    """Cross-entropy that fades as the prediction becomes right.

    `alpha * (1 - p_t)^gamma * -log(p_t)`, averaged over the pixels of each image, where `p_t` is
    the probability given to the truth.

    Args:
        alpha: float. Weight of every pixel, foreground and background alike.
        gamma: float. How fast the loss fades.
        reduction, name: see `keras.losses.Loss`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    `sample_weight`: `(batch,)`, or `(batch, height, width[, 1])` per pixel; see `PixelLoss`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, and for a `sample_weight` of another shape.

    Example:
        >>> round(float(FocalLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.1386

    Source: Lin et al. (arXiv 1708.02002), with the values 0.8 and 2 of ESP-MedSAM's sibling
    projects. Departs from their code, which uses the mean cross-entropy (`MeanFocalLoss`).
    """

    def __init__(
        self, alpha=0.8, gamma=2.0, reduction="sum_over_batch_size", name="focal_loss", **kwargs
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true, y_pred):
        y_true, y_pred, weights = as_float32_and_weights(self, y_true, y_pred)
        # softplus(-z) = -log(p_t) where z is the logit of the truth.
        truth_logit = y_pred * (2 * y_true - 1)
        cross_entropy = ops.softplus(-truth_logit)
        # (1 - p_t)^gamma; as a power its gradient would be NaN if p_t rounds to 1 and gamma < 1.
        fade = ops.exp(-self.gamma * ops.softplus(truth_logit))
        return self.alpha * mean_per_image(fade * cross_entropy, weights)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MeanFocalLoss(BatchLoss):
    """`alpha * (1 - exp(-BCE))^gamma * BCE` of the cross-entropy averaged over the whole batch.

    It fades as the whole batch becomes right, not pixel by pixel like `FocalLoss`.

    Args:
        alpha: float. Factor of the loss.
        gamma: float, at least 0. How fast the loss fades.
        reduction, name: see `keras.losses.Loss`; there is one value to reduce.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`.
    Output: a scalar.

    Raises:
        InputError: for shapes that differ, or a `sample_weight`.

    Example:
        >>> round(float(MeanFocalLoss()(np.ones((1, 2, 2, 1)), np.zeros((1, 2, 2, 1)))), 4)
        0.1386

    Source: the training code of ESP-MedSAM's sibling projects (see arXiv 2407.14153), after Lin
    et al. (arXiv 1708.02002).
    """

    def __init__(
        self,
        alpha=0.8,
        gamma=2.0,
        reduction="sum_over_batch_size",
        name="mean_focal_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.alpha = alpha
        self.gamma = gamma

    def call(self, y_true, y_pred):
        mean = ops.mean(cross_entropy(*as_float32(self, y_true, y_pred)))
        # For a mean near 0, 1 - exp(-mean) would lose most digits.
        loss = self.alpha * (-ops.expm1(-mean)) ** self.gamma * mean
        return ops.expand_dims(loss, 0)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}
