"""Angle between features, per image."""

import keras
from keras import ops

from keras_espmedsam.losses.image_loss import ImageLoss
from keras_espmedsam.losses.parts import as_float32, each_image
from keras_espmedsam.ops.device_constant import device_number

# A feature whose squared length is below this counts as zero.
SMALLEST_SQUARE = 1e-12


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class CosineEmbeddingLoss(ImageLoss):
    """One minus the cosine between a teacher's and a student's channels, averaged over positions.

    Only the direction of the features counts, not their length. If either is zero, the cosine is
    0.

    Args:
        reduction, name: see `keras.losses.Loss`.

    Input: the teacher's features `y_true` and the student's `y_pred`,
    `(batch, height, width, channels)`.
    Output: `(batch,)` before reduction, from 0 (same direction) to 2 (opposite directions).

    Raises:
        InputError: for shapes that differ, or a `sample_weight` per pixel.

    Example:
        >>> teacher = np.array([[[[1.0, 0.0]], [[0.0, 2.0]]]])
        >>> float(CosineEmbeddingLoss()(teacher, np.array([[[[3.0, 0.0]], [[0.0, -3.0]]]])))
        1.0

    Source: a common loss of feature distillation.
    """

    def __init__(self, reduction="sum_over_batch_size", name="cosine_embedding_loss", **kwargs):
        super().__init__(reduction=reduction, name=name, **kwargs)

    def call(self, y_true, y_pred):
        y_true, y_pred = (_directions(x) for x in as_float32(self, y_true, y_pred))
        cosine = ops.sum(y_true * y_pred, axis=-1)
        return ops.mean(1 - cosine, axis=each_image(cosine))


def _directions(x):
    # Not `ops.normalize`, whose gradient at zero is NaN on torch.
    squares = ops.sum(ops.square(x), axis=-1, keepdims=True)
    least = device_number(SMALLEST_SQUARE, like=squares)
    return x * ops.rsqrt(ops.maximum(squares, least))
