"""Cosine distance of feature maps, per picture."""

import keras
from keras import ops

from keras_espmedsam.losses.checked import check_ranks


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class CosineEmbeddingLoss(keras.losses.Loss):
    """One minus the cosine of the teacher's and the student's channels, mean over the places.

    Blind to the length of the features, which differ where a teacher's scale means nothing.

    Args:
        epsilon: float. Smallest length that is divided by.
        reduction, name: see `keras.losses.Loss`.

    Input: the teacher's `y_true` and the student's `y_pred`, `(batch, height, width, channels)`.
    Output: `(batch,)` before reduction, from 0 to 2; float32 under any dtype.

    Raises:
        InputError: for feature maps of different ranks.

    Example:
        >>> float(CosineEmbeddingLoss()(np.ones((1, 2, 2, 3)), -np.ones((1, 2, 2, 3))))
        2.0

    Source: ours for this use; cosine distillation is common practice.
    """

    def __init__(
        self,
        epsilon=1e-6,
        reduction="sum_over_batch_size",
        name="cosine_embedding_loss",
        **kwargs,
    ):
        super().__init__(reduction=reduction, name=name, **kwargs)
        self.epsilon = epsilon

    def call(self, y_true, y_pred):
        check_ranks(y_true, y_pred, "(batch, height, width, channels)")
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        product = ops.sum(y_true * y_pred, axis=-1)
        squares = ops.sum(y_true**2, axis=-1) * ops.sum(y_pred**2, axis=-1)
        # The root of a maximum: at zero the root's own gradient would not be finite.
        cosine = product * ops.rsqrt(ops.maximum(squares, self.epsilon**2))
        return 1 - ops.mean(cosine, axis=tuple(range(1, len(y_pred.shape) - 1)))

    def get_config(self):
        return {**super().get_config(), "epsilon": self.epsilon}
