"""Dice and IoU of the thresholded masks, averaged over images and targets."""

import keras
from keras import ops

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.weights import mean_weight, per_pixel
from keras_espmedsam.ops.device_constant import device_number

# One object, by which the tensor that is made of it is found again.
_NAN = float("nan")


class _MeanOverlap(keras.metrics.Metric):
    """Mean over images and targets of an overlap of two binary masks; 1 if both are empty.

    A target counts where it is labelled. A `sample_weight` per image weighs the mean. With weights
    per pixel, pixels of weight 0 are left out of the masks, and a mask counts by the mean weight of
    the others. Without any mask to measure the mean is NaN: 0 would mean that all were missed.
    """

    def __init__(self, threshold=0.5, target=None, name=None, dtype=None, **kwargs):
        super().__init__(name=name, dtype=dtype, **kwargs)
        self.threshold = threshold
        self.target = target
        self.total = self.add_weight(shape=(), initializer="zeros", name="total")
        self.count = self.add_weight(shape=(), initializer="zeros", name="count")

    def update_state(self, y_true, y_pred, sample_weight=None):
        value, weight = self.values_and_weights(y_true, y_pred, sample_weight)
        self.total.assign_add(ops.sum(value * weight))
        self.count.assign_add(ops.sum(weight))

    def values_and_weights(self, y_true, y_pred, sample_weight=None):
        """Return the overlap of each mask and how much it counts, each `(batch, targets)`."""
        pixels = per_pixel(self, sample_weight, y_pred)
        y_true, y_pred, pixels = (
            None if x is None else self._channels(ops.cast(x, "float32"))
            for x in (y_true, y_pred, pixels)
        )
        axes = tuple(range(1, len(y_pred.shape) - 1))
        zero, one = (device_number(value, like=y_pred) for value in (0, 1))
        known = ops.greater_equal(y_true, zero)
        if self.target is not None or y_pred.shape[-1] != 1:
            # A modality has not as many targets as another: the logits of the rest are -inf.
            lowest = device_number(float("-inf"), like=y_pred)
            exists = ops.any(ops.not_equal(y_pred, lowest), axis=axes, keepdims=True)
            known = ops.logical_and(known, exists)
        known = ops.cast(known, "float32")
        y_true = ops.cast(y_true >= 0.5, "float32")
        y_pred = known * ops.cast(ops.sigmoid(y_pred) >= self.threshold, "float32")
        if pixels is None:
            overlap = ops.sum(y_true * y_pred, axis=axes)
            total = ops.sum(known * y_true, axis=axes) + ops.sum(y_pred, axis=axes)
            weight = ops.max(known, axis=axes)
        else:
            pixels = known * pixels
            overlap = ops.sum(pixels * y_true * y_pred, axis=axes)
            total = ops.sum(pixels * y_true, axis=axes) + ops.sum(pixels * y_pred, axis=axes)
            # A mask counts as in the losses: by the mean weight of its known pixels.
            weight, _ = mean_weight(pixels, axes)
        value = ops.where(total > 0, self.measure(overlap, ops.where(total > 0, total, one)), one)
        if pixels is None and sample_weight is not None:
            # A single weight applies to every image.
            weight = weight * ops.reshape(ops.cast(sample_weight, "float32"), (-1, 1))
        return value, weight

    def _channels(self, x):
        """Return masks with a last axis of targets: of all, or of the chosen one."""
        if len(x.shape) != 4:
            x = ops.expand_dims(x, -1)
        if self.target is None:
            return x
        if not 0 <= self.target < x.shape[-1]:
            raise InputError(
                f"{type(self).__name__} received masks of {x.shape[-1]} channels for "
                f"target={self.target}; expected a target from 0 to {x.shape[-1] - 1}."
            )
        return x[..., self.target : self.target + 1]

    def result(self):
        return mean_or_nan(self.total, self.count)

    def get_config(self):
        return {**super().get_config(), "threshold": self.threshold, "target": self.target}


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class DiceScore(_MeanOverlap):
    """Mean over images of `2 |A & B| / (|A| + |B|)` of the thresholded mask and the truth.

    Of several targets, the mean over all masks that are labelled; NaN if there are none.

    Args:
        threshold: float. Probability from which a pixel is foreground.
        target: int, the only channel that is measured, or `None` for all.
        name, dtype: see `keras.metrics.Metric`. Default name: `dice`, with the target's number.

    Input: `y_true` in {0, 1}, or -1 where unlabelled, and logits `y_pred`,
    `(batch, height, width, targets)`; a `sample_weight` per image, `(batch,)`, or per pixel,
    `(batch, height, width[, 1 or targets])`, whose pixels of weight 0 do not count. Channels whose
    logits are all -inf do not count either, if there are several.

    Raises:
        InputError: for a `sample_weight` of another shape, and a `target` that the masks lack.

    Example:
        >>> metric = DiceScore()
        >>> metric.update_state(np.ones((1, 2, 2, 1)), np.ones((1, 2, 2, 1)))
        >>> float(metric.result())
        1.0

    Source: Dice (1945). If both masks are empty, the value is 1.
    """

    def __init__(self, threshold=0.5, name=None, dtype=None, target=None, **kwargs):
        super().__init__(threshold, target, name or _name("dice", target), dtype, **kwargs)

    def measure(self, overlap, total):
        return 2 * overlap / total


@keras.saving.register_keras_serializable(package="keras_espmedsam")
class ForegroundIoU(_MeanOverlap):
    """Mean over images of `|A & B| / |A | B|` of the thresholded mask and the truth.

    Of several targets, the mean over all masks that are labelled; NaN if there are none.

    Args:
        threshold: float. Probability from which a pixel is foreground.
        target: int, the only channel that is measured, or `None` for all.
        name, dtype: see `keras.metrics.Metric`. Default name: `iou`, with the target's number.

    Input: `y_true` in {0, 1}, or -1 where unlabelled, and logits `y_pred`,
    `(batch, height, width, targets)`; a `sample_weight` per image, `(batch,)`, or per pixel,
    `(batch, height, width[, 1 or targets])`, whose pixels of weight 0 do not count. Channels whose
    logits are all -inf do not count either, if there are several.

    Raises:
        InputError: for a `sample_weight` of another shape, and a `target` that the masks lack.

    Example:
        >>> metric = ForegroundIoU()
        >>> metric.update_state(np.ones((1, 2, 2, 1)), np.ones((1, 2, 2, 1)))
        >>> float(metric.result())
        1.0

    Source: Jaccard (1912). If both masks are empty, the value is 1.
    """

    def __init__(self, threshold=0.5, name=None, dtype=None, target=None, **kwargs):
        super().__init__(threshold, target, name or _name("iou", target), dtype, **kwargs)

    def measure(self, overlap, total):
        union = total - overlap
        return overlap / ops.where(total > overlap, union, device_number(1, like=union))


def mean_or_nan(total, count):
    """Return a sum of values divided by the sum of their weights; NaN where nothing was weighed.

    Args:
        total: tensor or variable.
        count: tensor or variable of its shape, 0 or more.

    Example:
        >>> mean = mean_or_nan(ops.array([1.0, 0.0]), ops.array([2.0, 0.0]))
        >>> keras.ops.convert_to_numpy(mean).tolist()
        [0.5, nan]
    """
    total, count = ops.convert_to_tensor(total), ops.convert_to_tensor(count)
    seen = count > device_number(0, like=count)
    mean = total / ops.where(seen, count, device_number(1, like=count))
    return ops.where(seen, mean, device_number(_NAN, like=count))


def _name(name, target):
    return name if target is None else f"{name}_{target}"
