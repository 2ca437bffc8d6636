"""Dice and IoU of the thresholded mask, averaged over images."""

import keras
from keras import ops

from keras_espmedsam.losses.weights import mean_weight, per_pixel
from keras_espmedsam.ops.device_constant import device_number


class _MeanOverlap(keras.metrics.Metric):
    """Mean over images of a measure of two binary masks; both empty counts as 1.

    A `sample_weight` per image weighs the mean. With one per pixel, pixels of weight 0 are left
    out of the masks, and an image counts by the mean weight of the others.
    """

    def __init__(self, threshold=0.5, name=None, dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.threshold = threshold
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        pixels = per_pixel(self, sample_weight, y_pred)
        y_true = ops.cast(ops.cast(y_true, "float32") >= 0.5, "float32")
        probability = ops.sigmoid(ops.cast(y_pred, "float32"))
        y_pred = ops.cast(probability >= self.threshold, "float32")
        axes = tuple(range(1, len(y_pred.shape)))
        if pixels is None:
            overlap = ops.sum(y_true * y_pred, axis=axes)
            total = ops.sum(y_true, axis=axes) + ops.sum(y_pred, axis=axes)
        else:
            overlap = ops.sum(pixels * y_true * y_pred, axis=axes)
            total = ops.sum(pixels * y_true, axis=axes) + ops.sum(pixels * y_pred, axis=axes)
        one = device_number(1, like=total)
        value = ops.where(total > 0, self.measure(overlap, ops.where(total > 0, total, one)), one)
        if pixels is not None:
            # An image counts as in the losses: by the mean weight of what is known of it.
            weight, _ = mean_weight(pixels, axes)
        elif sample_weight is None:
            weight = ops.ones_like(value)
        else:
            weight = ops.reshape(ops.cast(sample_weight, "float32"), (-1,))
            # A single weight counts once for every image.
            weight = ops.broadcast_to(weight, ops.shape(value))
        self.total.assign_add(ops.sum(value * weight))
        self.count.assign_add(ops.sum(weight))

    def result(self):
        count = ops.convert_to_tensor(self.count)
        least = device_number(keras.config.epsilon(), like=count)
        return self.total / ops.maximum(count, least)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold}


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DiceScore(_MeanOverlap):
    """Mean over images of `2 |A & B| / (|A| + |B|)` of the thresholded mask and the truth.

    Args:
        threshold: float. Probability from which a pixel is foreground.
        name, dtype: see `keras.metrics.Metric`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`; a `sample_weight`
    per image, `(batch,)`, or per pixel, `(batch, height, width[, 1])`, whose pixels of weight 0
    have no part in the masks.

    Example:
        >>> metric = DiceScore()
        >>> metric.update_state(np.ones((1, 2, 2, 1)), np.ones((1, 2, 2, 1)))
        >>> float(metric.result())
        1.0

    Source: Dice (1945); both empty counts as 1 (ours).
    """

    def __init__(self, threshold=0.5, name="dice", dtype=None, **kwargs):
        super().__init__(threshold=threshold, name=name, dtype=dtype, **kwargs)

    def measure(self, overlap, total):
        return 2 * overlap / total


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ForegroundIoU(_MeanOverlap):
    """Mean over images of `|A & B| / |A | B|` of the thresholded mask and the truth.

    Args:
        threshold: float. Probability from which a pixel is foreground.
        name, dtype: see `keras.metrics.Metric`.

    Input: `y_true` in {0, 1} and logits `y_pred`, `(batch, height, width, 1)`; a `sample_weight`
    per image, `(batch,)`, or per pixel, `(batch, height, width[, 1])`, whose pixels of weight 0
    have no part in the masks.

    Example:
        >>> metric = ForegroundIoU()
        >>> metric.update_state(np.ones((1, 2, 2, 1)), np.ones((1, 2, 2, 1)))
        >>> float(metric.result())
        1.0

    Source: Jaccard (1912); both empty counts as 1 (ours).
    """

    def __init__(self, threshold=0.5, name="iou", dtype=None, **kwargs):
        super().__init__(threshold=threshold, name=name, dtype=dtype, **kwargs)

    def measure(self, overlap, total):
        union = total - overlap
        return overlap / ops.where(total > overlap, union, device_number(1, like=union))
