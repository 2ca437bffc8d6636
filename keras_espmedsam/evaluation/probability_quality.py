"""How well probabilities are calibrated, from the pixel counts of images."""

from typing import NamedTuple

import numpy as np

from keras_espmedsam.evaluation.pixel_counts import CENTRES
from keras_espmedsam.imaging.probability_calibration import calibrated

NUM_BINS = 15
"""How many bins of equal width a reliability diagram has, as in Guo et al."""


class ProbabilityQuality(NamedTuple):
    """How well probabilities are calibrated. Each image counts the same, whatever its size.

    Attributes:
        ece: the expected calibration error: how far the share of foreground is from the mean
            probability, as the mean over the pixels of all bins.
        brier: the Brier score, the mean squared difference of probability and truth.
        share: of each bin, the share of all pixels, `(15,)`.
        probability: of each bin, the mean probability, `(15,)`; NaN if it is empty.
        foreground: of each bin, the share of foreground, `(15,)`; NaN if it is empty.

    Source: Guo et al. (arXiv 1706.04599), equation 3; Brier (1950).
    """

    ece: float
    brier: float
    share: np.ndarray
    probability: np.ndarray
    foreground: np.ndarray


def probability_quality(
    counts: np.ndarray, temperature: float = 1.0, bias: float = 0.0
) -> ProbabilityQuality:
    """Measure the calibration of probabilities, as they are or calibrated.

    Args:
        counts: `(images, 2, 442)`, from `pixel_counts` of probabilities that are not calibrated.
        temperature, bias: see `keras_espmedsam.imaging.probability_calibration.calibrated`.

    Returns:
        `ProbabilityQuality`. Each pixel counts as the middle of its bin of `pixel_counts`, which
        is at most 0.007 off.

    Example:
        >>> from keras_espmedsam.evaluation.pixel_counts import pixel_counts
        >>> found = pixel_counts(np.full((2, 5), 0.8, "float32"), np.arange(10).reshape(2, 5) < 8)
        >>> quality = probability_quality(found[None])
        >>> round(quality.ece, 2), round(quality.brier, 2)
        (0.0, 0.16)
    """
    weights = counts / counts.sum(axis=(1, 2), keepdims=True)
    background, foreground = weights.mean(axis=0)
    p = calibrated(CENTRES, temperature, bias).astype(float)
    brier = background @ p**2 + foreground @ (1 - p) ** 2
    bins = np.minimum((p * NUM_BINS).astype(int), NUM_BINS - 1)
    both = background + foreground
    share, of_foreground, of_probability = (
        np.bincount(bins, values, NUM_BINS) for values in (both, foreground, both * p)
    )
    with np.errstate(invalid="ignore"):
        means = of_probability / share, of_foreground / share
    return ProbabilityQuality(
        float(abs(of_foreground - of_probability).sum()), float(brier), share, *means
    )
