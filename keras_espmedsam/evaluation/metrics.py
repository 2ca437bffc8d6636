"""Metrics of a predicted mask against the true one, without smoothing."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from keras_espmedsam._startup import require
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.instance_metrics import INSTANCE_METRICS
from keras_espmedsam.evaluation.masks import both_masks, surface
from keras_espmedsam.registries import metrics as registry

DEFAULT_METRICS = ("dice", "iou", "precision", "recall", "hd95")
"""The metrics by default, in the order of the reports."""
ALL = "all"
"""The name that stands for all known metrics."""

# The other columns of a report.
_COLUMNS = ("dataset", "split", "modality", "target", "image", "index", "n", *INSTANCE_METRICS)
# Built-in metrics that need an optional library.
_NEEDS = {"cldice": "skimage"}


class MetricError(InputError):
    """A metric of another package that failed; the image is not at fault.

    Example:
        >>> issubclass(MetricError, ValueError)
        True
    """


def confusion(truth: np.ndarray, prediction: np.ndarray) -> tuple[int, int, int, int]:
    """Count true and false positives and negatives.

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
    """
    truth, prediction = both_masks(truth, prediction)
    both = int(np.count_nonzero(truth & prediction))
    predicted, true = int(np.count_nonzero(prediction)), int(np.count_nonzero(truth))
    return both, predicted - both, true - both, truth.size - predicted - true + both


def dice(truth: np.ndarray, prediction: np.ndarray) -> float:
    """Dice coefficient, 2 TP / (2 TP + FP + FN); 1 if both masks are empty.

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
    """Intersection over union, TP / (TP + FP + FN); 1 if both masks are empty.

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
    """Precision, TP / (TP + FP); 1 if both masks are empty, 0 if only the prediction is.

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
    """Recall, TP / (TP + FN); 1 if both masks are empty, 0 if only the truth is.

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

    The surface of a mask consists of its pixels that have a background pixel, or the image's edge,
    above, below, left or right of them. The percentile is taken over the distances from every
    surface pixel of one mask to the nearest of the other; the larger of the two directions is the
    result.

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.
        percentile: 100 is the classical maximum, 95 is HD95.

    Returns:
        A distance in pixels: 0 if both masks are empty, and the image's diagonal
        sqrt(height^2 + width^2) if only one is.

    Raises:
        InputError: when the masks are not two-dimensional or their shapes differ.

    Example:
        >>> hausdorff_distance(np.array([[1, 0, 0, 0]]), np.array([[0, 0, 0, 1]]))
        3.0

    Source: Maier-Hein et al. 2024, "Metrics reloaded", Nature Methods 21:195 (HD95).
    """
    truth, prediction = both_masks(truth, prediction)
    if truth.ndim != 2:
        raise InputError(f"Received masks of shape {truth.shape}; expected (height, width).")
    if not truth.any() and not prediction.any():
        return 0.0
    if not truth.any() or not prediction.any():
        return float(np.hypot(*truth.shape))
    # Only the bounding box of both masks is needed.
    window = ndimage.find_objects((truth | prediction).astype(np.uint8))[0]
    first, second = surface(truth[window]), surface(prediction[window])
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
    truth: np.ndarray,
    prediction: np.ndarray,
    metrics: Sequence[str] | str | None = None,
    **options: Any,
) -> dict[str, float]:
    """Compute the metrics of one image.

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.
        metrics: names of `keras_espmedsam.registries.metrics`, to which other packages add, or
            `"all"`; by default dice, iou, precision, recall and hd95.
        **options: keyword arguments for the metrics that have them, such as `tolerance` and
            `spacing` for `nsd`.

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
    masks = both_masks(truth, prediction)
    return {name: _value(name, *masks, options) for name in checked_metrics(metrics)}


def checked_metrics(metrics: Sequence[str] | str | None) -> tuple[str, ...]:
    """Check the names of metrics, and return each once; the default ones for `None`.

    Args:
        metrics: names from `keras_espmedsam.registries.metrics`, or `"all"`.

    Raises:
        InputError: for an unknown name, no name, the name of another column of a report, or a
            metric that needs a library which is not installed.

    Example:
        >>> checked_metrics(["hd95", "dice", "hd95"])
        ('hd95', 'dice')
    """
    if metrics is None:
        return DEFAULT_METRICS
    names = (metrics,) if isinstance(metrics, str) else tuple(metrics)
    if ALL in names:
        names = registry.names()
    if not names:
        raise InputError(f"Received no metric; expected some of {', '.join(registry.names())}.")
    for name in names:
        if registry.check(name) in _COLUMNS:
            raise InputError(
                f"The metric {name!r} has the same name as another column of the report; register "
                "it under another name."
            )
        if name in _NEEDS:
            require(_NEEDS[name], f"The metric {name}", "metrics")
    return tuple(dict.fromkeys(names))


def wanted_options(function: Callable, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those options that a metric takes: its keyword-only parameters of that name.

    Args:
        function: a metric.
        given: names to values.

    Example:
        >>> wanted_options(lambda truth, prediction, *, spacing=None: 1.0,
        ...     {"spacing": (1, 1), "tolerance": 2})
        {'spacing': (1, 1)}
    """
    try:
        parameters = inspect.signature(function).parameters
    except (ValueError, TypeError):  # Some functions of C have no signature.
        return {}
    return {
        name: value
        for name, value in given.items()
        if name in parameters and parameters[name].kind is inspect.Parameter.KEYWORD_ONLY
    }


def _value(name, truth, prediction, options):
    function = registry.load(name)
    try:
        return float(function(truth, prediction, **wanted_options(function, options)))
    except InputError:
        raise
    # A function of another package may raise anything, or return something that is not a number.
    except Exception as error:
        raise MetricError(
            f"the metric {name!r} failed ({type(error).__name__}: {error}); expected a function of "
            "two masks that returns a number."
        ) from error


def _ratio(numerator, denominator, both_empty):
    if both_empty:
        return 1.0
    return numerator / denominator if denominator else 0.0


def _directed(start, end, percentile):
    return float(np.percentile(ndimage.distance_transform_edt(~end)[start], percentile))
