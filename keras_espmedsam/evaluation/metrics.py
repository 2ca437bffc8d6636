"""Measures of one predicted mask against the true one, unsmoothed."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import metrics as registry

DEFAULT_METRICS = ("dice", "iou", "precision", "recall", "hd95")
"""What is measured where nothing else is asked for, in the order of the reports."""

# What else a report says of a data set or an image.
_COLUMNS = ("dataset", "split", "modality", "image", "index", "n")


class MetricError(InputError):
    """A metric of another package that fails, which is no image's fault.

    Source: ours.
    """


def confusion(truth: np.ndarray, prediction: np.ndarray) -> tuple[int, int, int, int]:
    """Count the pixels of each kind.

    Args:
        truth: true mask, any shape, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Returns:
        True positives, false positives, false negatives, true negatives.

    Raises:
        InputError: when the shapes differ.

    Example:
        >>> confusion(np.array([1, 1, 0, 0]), np.array([1, 0, 1, 0]))
        (1, 1, 1, 1)

    Source: ours.
    """
    truth, prediction = _masks(truth, prediction)
    both = int(np.count_nonzero(truth & prediction))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    return both, predicted - both, true - both, truth.size - predicted - true + both


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Dice coefficient, 2 TP / (2 TP + FP + FN); 1 where both masks are empty.

    Args:
        truth: true mask, any shape, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Example:
        >>> dice(np.array([1, 1, 0]), np.array([1, 0, 0]))
        0.6666666666666666

    Source: Dice 1945, Ecology 26(3):297.
    """
    tp, fp, fn, _ = confusion(truth, prediction)
    return _ratio(2 * tp, 2 * tp + fp + fn, both_empty=tp + fp + fn == 0)


def iou(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Intersection over union, TP / (TP + FP + FN); 1 where both masks are empty.

    Args:
        truth: true mask, any shape, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Example:
        >>> iou(np.array([1, 1, 0]), np.array([1, 0, 0]))
        0.5

    Source: Jaccard 1912, New Phytologist 11(2):37.
    """
    tp, fp, fn, _ = confusion(truth, prediction)
    return _ratio(tp, tp + fp + fn, both_empty=tp + fp + fn == 0)


def precision(truth: np.ndarray, prediction: np.ndarray) -> float:
    """TP / (TP + FP); 1 where both masks are empty, 0 where only the prediction is.

    Args:
        truth: true mask, any shape, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Example:
        >>> precision(np.array([1, 1, 0]), np.array([1, 0, 0]))
        1.0
    """
    tp, fp, fn, _ = confusion(truth, prediction)
    return _ratio(tp, tp + fp, both_empty=tp + fp + fn == 0)


def recall(truth: np.ndarray, prediction: np.ndarray) -> float:
    """TP / (TP + FN); 1 where both masks are empty, 0 where only the truth is.

    Args:
        truth: true mask, any shape, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Example:
        >>> recall(np.array([1, 1, 0]), np.array([1, 0, 0]))
        0.5
    """
    tp, fp, fn, _ = confusion(truth, prediction)
    return _ratio(tp, tp + fn, both_empty=tp + fp + fn == 0)


def hausdorff_distance(truth: np.ndarray, prediction: np.ndarray, percentile: float = 100) -> float:
    """Symmetric Hausdorff distance between the surfaces of two masks, in pixels.

    The surface of a mask are its pixels with a background pixel, or the image's edge, above,
    below, left or right of them. From every surface pixel of one mask the distance to the nearest
    of the other is taken, then the percentile; the larger of the two directions is the result.

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.
        percentile: 100 is the classical maximum, 95 is HD95.

    Returns:
        A distance in pixels: 0 where both masks are empty, the image's diagonal
        sqrt(height^2 + width^2) where one is.

    Raises:
        InputError: when the masks are not two-dimensional or their shapes differ.

    Example:
        >>> hausdorff_distance(np.array([[1, 0, 0, 0]]), np.array([[0, 0, 0, 1]]))
        3.0

    Source: Maier-Hein et al. 2024, "Metrics reloaded", Nature Methods 21:195 (HD95).
    """
    truth, prediction = _masks(truth, prediction)
    if truth.ndim != 2:
        raise InputError(f"Received masks of shape {truth.shape}; expected (height, width).")
    if not truth.any() and not prediction.any():
        return 0.0
    if not truth.any() or not prediction.any():
        return float(np.hypot(*truth.shape))
    # Outside of both masks' bounding box there is no surface, and nothing to compute.
    window = ndimage.find_objects((truth | prediction).astype(np.uint8))[0]
    first, second = _surface(truth[window]), _surface(prediction[window])
    return max(_directed(first, second, percentile), _directed(second, first, percentile))


def hd95(truth: np.ndarray, prediction: np.ndarray) -> float:
    """The 95th percentile of the symmetric Hausdorff distance, in pixels.

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Example:
        >>> hd95(np.array([[1, 0, 0, 0]]), np.array([[0, 0, 0, 1]]))
        3.0

    Source: see `hausdorff_distance`.
    """
    return hausdorff_distance(truth, prediction, percentile=95)


def image_measures(
    truth: np.ndarray, prediction: np.ndarray, metrics: Sequence[str] | str | None = None
) -> dict[str, float]:
    """The metrics of one image.

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.
        metrics: names of `keras_espmedsam.registries.metrics`, to which other packages add; by
            default dice, iou, precision, recall and hd95.

    Returns:
        Name to value, in the order of the names.

    Raises:
        InputError: when the shapes differ, or for an unknown name.
        MetricError: when a metric of another package fails.

    Example:
        >>> image_measures(np.ones((2, 2)), np.ones((2, 2)))["iou"]
        1.0
        >>> image_measures(np.ones((2, 2)), np.eye(2), ["recall", "precision"])
        {'recall': 0.5, 'precision': 1.0}
    """
    masks = _masks(truth, prediction)
    return {name: _value(name, *masks) for name in checked_metrics(metrics)}


def checked_metrics(metrics: Sequence[str] | str | None) -> tuple[str, ...]:
    """The names of metrics, each once, the default ones for `None`.

    Args:
        metrics: names of `keras_espmedsam.registries.metrics`.

    Raises:
        InputError: for an unknown name, none at all, or one that a report has another column of.

    Example:
        >>> checked_metrics(["hd95", "dice", "hd95"])
        ('hd95', 'dice')

    Source: ours.
    """
    if metrics is None:
        return DEFAULT_METRICS
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    if not names:
        raise InputError(f"Received no metric; expected some of {', '.join(registry.names())}.")
    for name in names:
        if registry.check(name) in _COLUMNS:
            raise InputError(
                f"The metric {name!r} has the name of another column of the report; register it "
                "under another name."
            )
    return tuple(dict.fromkeys(names))


def _value(name, truth, prediction):
    function = registry.load(name)
    try:
        return float(function(truth, prediction))
    except InputError:
        raise
    # Whatever a function of another package raises, or gives that is no number.
    except Exception as error:
        raise MetricError(
            f"the metric {name!r} cannot be taken ({type(error).__name__}: {error}); expected a "
            "function of two masks that gives a number."
        ) from error


def _masks(truth, prediction):
    truth, prediction = np.asarray(truth) != 0, np.asarray(prediction) != 0
    if truth.shape != prediction.shape:
        raise InputError(
            f"Received a prediction of shape {prediction.shape} for a true mask of shape "
            f"{truth.shape}; they must be equal."
        )
    return truth, prediction


def _ratio(numerator, denominator, both_empty):
    if both_empty:
        return 1.0
    return numerator / denominator if denominator else 0.0


def _surface(mask):
    return mask & ~ndimage.binary_erosion(mask)


def _directed(start, end, percentile):
    return float(np.percentile(ndimage.distance_transform_edt(~end)[start], percentile))
