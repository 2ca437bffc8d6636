"""Mean squared error of features standardised channel by channel, per image."""

import keras
from keras import ops

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.image_loss import ImageLoss
from keras_espmedsam.losses.parts import as_float32, each_image


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class NormalizedMSE(ImageLoss):
    """Mean squared error of features whose channels are standardised over each image's positions.

    Every channel counts equally, whatever its mean and spread, and teacher and student are
    standardised separately: the loss compares where a channel is high and where it is low.

    Args:
        epsilon: float. Added to the variances, so that constant channels are defined.
        reduction, name: see `keras.losses.Loss`.

    Input: the teacher's features `y_true` and the student's `y_pred`,
    `(batch, height, width, channels)`.
    Output: `(batch,)` before reduction, from 0 (equal up to each channel's mean and spread) to 4.

    Raises:
        InputError: for shapes that differ, or have no positions.

    Example:
        >>> teacher = np.random.normal(size=(1, 4, 4, 8))
        >>> round(float(NormalizedMSE()(teacher, 5 * teacher + 1)), 4)
        0.0

    Source: a common loss of feature distillation.
    """

    def __init__(
        self, epsilon=1e-6, reduction="sum_over_batch_size", name="normalized_mse", **kwargs
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true, y_pred):
        y_true, y_pred = as_float32(self, y_true, y_pred)
        if len(y_pred.shape) < 3:
            raise InputError(
                f"NormalizedMSE received features of shape {tuple(y_pred.shape)}; expected "
                "(batch, height, width, channels), with positions to standardise over."
            )
        difference = self._standardized(y_true) - self._standardized(y_pred)
        return ops.mean(ops.square(difference), axis=each_image(difference))

    def _standardized(self, x):
        mean, variance = ops.moments(x, axes=tuple(range(1, len(x.shape) - 1)), keepdims=True)
        return (x - mean) * ops.rsqrt(variance + self.epsilon)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
