"""Choose a threshold with a guarantee: conformal risk control, and learn then test."""

import math

import numpy as np

from keras_espmedsam.evaluation.pixel_counts import THRESHOLDS, positives


def losses(risk: str, counts: np.ndarray) -> np.ndarray:
    """Return what each image loses at each threshold.

    Args:
        risk: one of `keras_espmedsam.inference.guarantees.GUARANTEES`.
        counts: `(images, 2, thresholds)`, from `pixel_counts`.

    Returns:
        float64 `(images, thresholds)`, in [0, 1]: 1 - recall, the false discovery rate (the share
        of the mask that is background; 0 for an empty mask), or 1 - Dice (0 if mask and truth are
        empty). For recall, only of images with foreground: without any, nothing can be missed.

    Example:
        >>> from keras_espmedsam.evaluation.pixel_counts import pixel_counts
        >>> from keras_espmedsam.inference.guarantees import GUARANTEES
        >>> truth = np.array([[True, True, False, False]])
        >>> counts = pixel_counts(np.float32([[0.9, 0.2, 0.6, 0.1]]), truth)[None]
        >>> at = THRESHOLDS.searchsorted(0.5)
        >>> [losses(risk, counts)[0, at].item() for risk in GUARANTEES]
        [0.5, 0.5, 0.5]
    """
    false, true = np.moveaxis(positives(counts), -2, 0).astype(float)
    whole = true[:, :1]
    if risk == "recall":
        shown = whole[:, 0] > 0
        return 1 - true[shown] / whole[shown]
    mask = false + true
    if risk == "false_discovery_rate":
        return np.divide(false, mask, out=np.zeros_like(mask), where=mask > 0)
    both = mask + whole
    return 1 - np.divide(2 * true, both, out=np.ones_like(mask), where=both > 0)


def conformal_risk_control(losses: np.ndarray, rate: float) -> int | None:
    """Choose the highest threshold at which a new image's expected loss is at most `rate`.

    It holds for images that are exchangeable with these, on average over the images that it is
    chosen on, whatever the model.

    Args:
        losses: `(images, thresholds)`, in [0, 1], each row not decreasing.
        rate: the largest expected loss.

    Returns:
        The number of the threshold; `None` if there are too few images.

    Example:
        >>> losses = np.tile([0, 0.1, 0.3], (19, 1))
        >>> [conformal_risk_control(losses, rate) for rate in (0.01, 0.1, 0.2)]
        [None, 0, 1]

    Source: Angelopoulos et al., Conformal risk control (arXiv 2208.02814), theorem 1.
    """
    count = len(losses)
    # Rounding must not decide: 9 images are enough for a rate of 0.1.
    fits = losses.sum(axis=0) + 1 <= rate * (count + 1) + 1e-9
    return int(np.flatnonzero(fits)[-1]) if fits[0] else None


def learn_then_test(
    losses: np.ndarray, rate: float, confidence: float, order: np.ndarray
) -> np.ndarray:
    """Return the thresholds at which the mean loss of new images is at most `rate`.

    With a probability of at least `confidence`, this holds for all of them, for new images drawn
    from where these were. The losses may go up and down. The thresholds are tested one after
    another, until one cannot be shown to hold.

    Args:
        losses: `(images, thresholds)`, in [0, 1].
        rate: the largest mean loss.
        confidence: in (0, 1).
        order: the numbers of the thresholds in the order of the tests, chosen without these images.

    Returns:
        The first numbers of `order`, as many as hold.

    Example:
        >>> losses = np.tile([0.5, 0.05, 0], (50, 1))
        >>> learn_then_test(losses, 0.2, 0.9, np.array([2, 1, 0])).tolist()
        [2, 1]

    Source: Angelopoulos et al., Learn then test (arXiv 2110.01052): fixed sequence testing, with
        the p-value of Hoeffding and Bentkus (Bates et al., arXiv 2101.02703).
    """
    p = hoeffding_bentkus(losses.mean(axis=0), len(losses), rate)
    kept = np.cumprod(p[order] <= 1 - confidence + 1e-12).astype(bool)
    return order[kept]


def hoeffding_bentkus(means: np.ndarray, count: int, rate: float) -> np.ndarray:
    """Return the p-value of the hypothesis that the true mean of a loss is above `rate`.

    Args:
        means: means of `count` losses in [0, 1] each.
        count: how many losses.
        rate: in (0, 1).

    Returns:
        float64, of the same shape as `means`.

    Example:
        >>> hoeffding_bentkus(np.array([0.0, 0.1, 0.3]), 22, 0.1).round(3).tolist()
        [0.098, 1.0, 1.0]

    Source: Bates et al. (arXiv 2101.02703), proposition 3 and section 3.1.
    """
    from scipy.special import rel_entr
    from scipy.stats import binom

    below = np.minimum(means, rate)
    hoeffding = np.exp(-count * (rel_entr(below, rate) + rel_entr(1 - below, 1 - rate)))
    # 3 * (1 / 3) must not be rounded up to the next number of images.
    bentkus = math.e * binom.cdf(np.ceil(count * means - 1e-9), count, rate)
    return np.minimum(np.minimum(hoeffding, bentkus), 1)


def images_needed(risk: str, rate: float, confidence: float) -> int:
    """Return the smallest number of images that can give a guarantee, if all are perfect.

    Args:
        risk: one of `keras_espmedsam.inference.guarantees.GUARANTEES`.
        rate: the largest expected loss.
        confidence: see `learn_then_test`; recall does not use it.

    Example:
        >>> from keras_espmedsam.inference.guarantees import GUARANTEES
        >>> [images_needed(risk, 0.1, 0.9) for risk in GUARANTEES]
        [9, 22, 22]
    """
    if risk == "recall":
        return math.ceil(1 / rate - 1 - 1e-9)
    return math.ceil(math.log(1 - confidence) / math.log(1 - rate) - 1e-9)


def choose_threshold(risk: str, losses: np.ndarray, rate: float, confidence: float) -> int | None:
    """Return the number of the best threshold that holds, or `None` if none does.

    The highest one for recall, the lowest one for the false discovery rate, and the one with the
    best mean for Dice.

    Args:
        risk: one of `keras_espmedsam.inference.guarantees.GUARANTEES`.
        losses: from `losses`, of `THRESHOLDS`.
        rate: the largest expected loss.
        confidence: see `learn_then_test`; recall does not use it.

    Example:
        >>> choose_threshold("recall", np.zeros((9, 442)), 0.1, 0.9)
        441
    """
    if risk == "recall":
        return conformal_risk_control(losses, rate)
    numbers = np.arange(len(THRESHOLDS))
    if risk == "false_discovery_rate":
        held = learn_then_test(losses, rate, confidence, numbers[::-1])
        return int(held[-1]) if held.size else None
    half = int(THRESHOLDS.searchsorted(0.5))
    order = np.argsort(abs(numbers - half), kind="stable")
    held = learn_then_test(losses, rate, confidence, order)
    return int(held[losses[:, held].mean(axis=0).argmin()]) if held.size else None
