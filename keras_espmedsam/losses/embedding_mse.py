"""Mean squared error of features, per image."""

import keras
from keras import ops

from keras_espmedsam.losses.image_loss import ImageLoss
from keras_espmedsam.losses.parts import as_float32, each_image


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class EmbeddingMSE(ImageLoss):
    """The squared difference of a teacher's and a student's features, averaged over each image.

    `keras.losses.MeanSquaredError` returns one value per position, to which a weight per image
    does not broadcast.

    Args:
        reduction, name: see `keras.losses.Loss`.

    Input: the teacher's features `y_true` and the student's `y_pred`,
    `(batch, height, width, channels)`.
    Output: `(batch,)` before reduction.

    Raises:
        InputError: for shapes that differ, or a `sample_weight` per pixel.

    Example:
        >>> float(EmbeddingMSE()(np.zeros((2, 4, 4, 8)), np.full((2, 4, 4, 8), 3.0)))
        9.0

    Source: ESP-MedSAM (arXiv 2407.14153), the loss of its distillation.
    """

    def __init__(self, reduction="sum_over_batch_size", name="embedding_mse", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true, y_pred = as_float32(self, y_true, y_pred)
        return ops.mean(ops.square(y_true - y_pred), axis=each_image(y_pred))
