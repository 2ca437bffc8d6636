"""Fit the calibration of probabilities to labelled images."""

import numpy as np

from keras_espmedsam.evaluation.pixel_counts import CENTRES

_LOGITS = np.log(CENTRES) - np.log1p(-CENTRES)
# Beyond these, images tell nothing: they are all right, or all wrong.
_HOTTEST = 10.0
_FOLDS = 5


def fit_calibration(counts: np.ndarray, with_bias: bool = False) -> dict[str, float]:
    """Find the temperature that makes the truth most likely, each image counting the same.

    Args:
        counts: `(images, 2, 442)`, from `pixel_counts` of probabilities that are not calibrated.
        with_bias: whether to fit a bias, too. A mask at threshold 0.5 then changes.

    Returns:
        dict of arguments for `keras_espmedsam.imaging.probability_calibration.calibrated`.

    Example:
        >>> from keras_espmedsam.evaluation.pixel_counts import pixel_counts
        >>> truth = np.arange(10) < 8  # 80 % of the pixels with a probability of 0.9.
        >>> counts = pixel_counts(np.full((1, 10), 0.9, "float32"), truth[None])[None]
        >>> round(fit_calibration(counts)["temperature"], 2)
        1.57

    Source: Guo et al. (arXiv 1706.04599), section 4.2.
    """
    from scipy.optimize import minimize

    weights = (counts / counts.sum(axis=(1, 2), keepdims=True)).mean(axis=0)
    parts = (_LOGITS, np.ones_like(_LOGITS)) if with_bias else (_LOGITS,)

    def value(given):
        logits = sum(one * part for one, part in zip(given, parts, strict=True))
        p = 0.5 * (1 + np.tanh(0.5 * logits))
        # The logarithm of 1 - p and of p, without overflow.
        nll = weights[0] @ np.logaddexp(0, logits) + weights[1] @ np.logaddexp(0, -logits)
        slope = weights[0] * p - weights[1] * (1 - p)
        return nll, np.array([slope @ part for part in parts])

    bounds = [(1 / _HOTTEST, _HOTTEST), (-_HOTTEST, _HOTTEST)][: len(parts)]
    found = minimize(value, [1.0, 0.0][: len(parts)], jac=True, bounds=bounds, tol=1e-12).x
    options = {"temperature": round(float(1 / found[0]), 4)}
    return options | ({"bias": round(float(found[1]), 4)} if with_bias else {})


def log_losses(counts: np.ndarray, temperature: float = 1.0, bias: float = 0.0) -> np.ndarray:
    """Return the mean negative log-likelihood of each image's pixels, `(images,)`.

    Args:
        counts: `(images, 2, 442)`, from `pixel_counts`.
        temperature, bias: see `fit_calibration`.

    Example:
        >>> from keras_espmedsam.evaluation.pixel_counts import pixel_counts
        >>> counts = pixel_counts(np.float32([[0.5]]), np.array([[True]]))[None]
        >>> log_losses(counts).round(1).tolist()
        [0.7]
    """
    logits = _LOGITS / temperature + bias
    each = counts[:, 0] @ np.logaddexp(0, logits) + counts[:, 1] @ np.logaddexp(0, -logits)
    return each / counts.sum(axis=(1, 2))


def helps(counts: np.ndarray, with_bias: bool = False) -> bool:
    """Whether a calibration makes images that it was not fitted to more likely, on average.

    Args:
        counts, with_bias: see `fit_calibration`; of one image, nothing can be said.

    Returns:
        bool, by cross-validation with as many as 5 folds.

    Example:
        >>> helps(np.ones((1, 2, 442), int))
        False
    """
    if len(counts) < 2:
        return False
    folds = np.arange(len(counts)) % _FOLDS
    left_out = np.empty(len(counts))
    for number in range(min(_FOLDS, len(counts))):
        out = folds == number
        left_out[out] = log_losses(counts[out], **fit_calibration(counts[~out], with_bias))
    return bool(left_out.mean() < log_losses(counts).mean())
