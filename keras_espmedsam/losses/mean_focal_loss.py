"""Focal loss of the mean cross-entropy, as published."""

import keras
from keras import ops

from keras_espmedsam.losses.batch_loss import BatchLoss
from keras_espmedsam.losses.parts import as_float32, cross_entropy


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class MeanFocalLoss(BatchLoss):
    """`alpha * (1 - exp(-BCE))^gamma * BCE` of the cross-entropy averaged over the whole batch.

    It fades as the batch as a whole becomes right, not pixel by pixel as `FocalLoss` does.

    Args:
        alpha: float. Factor of the whole.
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
        # Of a mean near 0, 1 - exp(-mean) would keep few digits.
        loss = self.alpha * (-ops.expm1(-mean)) ** self.gamma * mean
        return ops.expand_dims(loss, 0)

    def get_config(self):
        return {**super().get_config(), "alpha": self.alpha, "gamma": self.gamma}
