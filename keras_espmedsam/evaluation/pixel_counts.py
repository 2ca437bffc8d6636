"""Count the pixels of an image by their probability: all that calibration needs to know of it."""

import numpy as np

_STEP = 0.05
_LOGITS = np.arange(-240, 201) * _STEP

THRESHOLDS: np.ndarray = np.concatenate([[0], 1 / (1 + np.exp(-_LOGITS))]).astype(np.float32)
"""The thresholds of a count, ascending: 0 (every pixel is foreground), then sigmoids of evenly
spaced logits from -12 to 10. float32 `(442,)`."""

# The last bin has no upper end, the first no lower one.
CENTRES: np.ndarray = 1 / (1 + np.exp(-np.concatenate([[-12.5], _LOGITS + _STEP / 2])))
"""A probability for the pixels of each bin, in the middle of its logits. float64 `(442,)`."""


def pixel_counts(probability: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Count an image's pixels of background and foreground between each two thresholds.

    Args:
        probability: `(height, width)`, in [0, 1].
        truth: bool `(height, width)`.

    Returns:
        int64 `(2, 442)`: of the background and the foreground, the number of pixels that reach
        each of `THRESHOLDS`, but not the next.

    Example:
        >>> counts = pixel_counts(np.float32([[0, 0.5]]), np.array([[False, True]]))
        >>> counts.sum(axis=1).tolist(), THRESHOLDS[counts.argmax(axis=1)].tolist()
        ([1, 1], [0.0, 0.5])
    """
    bins = np.searchsorted(THRESHOLDS, np.asarray(probability, np.float32).ravel(), "right") - 1
    truth = np.asarray(truth, bool).ravel()
    size = len(THRESHOLDS)
    return np.bincount(bins + size * truth, minlength=2 * size).reshape(2, size)


def positives(counts: np.ndarray) -> np.ndarray:
    """Return the false and the true positives at each threshold.

    Args:
        counts: `(..., 2, 442)`, from `pixel_counts`.

    Returns:
        int64 `(..., 2, 442)`.

    Example:
        >>> counts = pixel_counts(np.float32([[0, 0.5]]), np.array([[False, True]]))
        >>> positives(counts)[:, 0].tolist(), positives(counts)[:, 1].tolist()
        ([1, 1], [0, 1])
    """
    return np.cumsum(counts[..., ::-1], axis=-1)[..., ::-1]
