"""Mean squared error of feature maps, per picture."""

import keras
from keras import ops

from keras_espmedsam.losses.checked import check_ranks


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class EmbeddingMSE(keras.losses.Loss):
    """Mean squared difference of a teacher's and a student's feature map.

    Args:
        reduction, name: see `keras.losses.Loss`.

    Input: the teacher's `y_true` and the student's `y_pred`, `(batch, height, width, channels)`.
    Output: `(batch,)` before reduction; float32 under any dtype.

    Raises:
        InputError: for feature maps of different ranks.

    Example:
        >>> float(EmbeddingMSE()(np.ones((1, 2, 2, 3)), np.zeros((1, 2, 2, 3))))
        1.0

    Source: ESP-MedSAM (arXiv 2407.14153), the loss of its distillation.
    """

    def __init__(self, reduction="sum_over_batch_size", name="embedding_mse", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        check_ranks(y_true, y_pred, "(batch, height, width, channels)")
        difference = ops.cast(y_true, "float32") - ops.cast(y_pred, "float32")
        return ops.mean(ops.square(difference), axis=tuple(range(1, len(y_pred.shape))))
