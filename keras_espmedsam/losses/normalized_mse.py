"""Mean squared error of standardised channels, per picture."""

import keras
from keras import ops

from keras_espmedsam.losses.checked import check_ranks


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class NormalizedMSE(keras.losses.Loss):
    """Mean squared difference after each channel has mean 0 and deviation 1 over the places.

    A teacher's few channels of large values would otherwise be all that is learnt.

    Args:
        epsilon: float. Added to the variance.
        reduction, name: see `keras.losses.Loss`.

    Input: the teacher's `y_true` and the student's `y_pred`, `(batch, height, width, channels)`.
    Output: `(batch,)` before reduction; float32 under any dtype.

    Raises:
        InputError: for feature maps of different ranks.

    Example:
        >>> x = np.arange(12.0).reshape(1, 2, 2, 3)
        >>> round(float(NormalizedMSE()(x, 5 * x + 1)), 4)
        0.0

    Source: ours for this use; standardised channels are common in feature distillation.
    """

    def __init__(
        self, epsilon=1e-5, reduction="sum_over_batch_size", name="normalized_mse", **kwargs
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true, y_pred):
        check_ranks(y_true, y_pred, "(batch, height, width, channels)")
        difference = self._standard(y_true) - self._standard(y_pred)
        return ops.mean(ops.square(difference), axis=tuple(range(1, len(y_pred.shape))))

    def _standard(self, features):
        features = ops.cast(features, "float32")
        places = tuple(range(1, len(features.shape) - 1))
        centred = features - ops.mean(features, axis=places, keepdims=True)
        variance = ops.mean(ops.square(centred), axis=places, keepdims=True)
        return centred * ops.rsqrt(variance + self.epsilon)

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
