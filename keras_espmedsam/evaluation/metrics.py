"""Measures of one predicted mask against the true one, unsmoothed."""

import numpy as np
from scipy import ndimage

from keras_espmedsam.errors import InputError


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


def image_measures(truth: np.ndarray, prediction: np.ndarray) -> dict[str, float]:
    """All measures of one image.

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.

    Returns:
        `{"dice", "iou", "precision", "recall", "hd95"}`.

    Raises:
        InputError: when the shapes differ.

    Example:
        >>> image_measures(np.ones((2, 2)), np.ones((2, 2)))["iou"]
        1.0
    """
    functions = (dice, iou, precision, recall, hd95)
    return {function.__name__: function(truth, prediction) for function in functions}


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
