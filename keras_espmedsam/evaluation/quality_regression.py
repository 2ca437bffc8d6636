"""Logistic regression of a share, such as a Dice, on statistics that targets have in common."""

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

import numpy as np

from keras_espmedsam.evaluation.logistic_regression import fit_logits, standardised
from keras_espmedsam.imaging.mask_statistic_names import STATISTICS

Key = TypeVar("Key", bound=Hashable)

_DIGITS = 6


def fit_coefficients(
    statistics: np.ndarray,
    dice: np.ndarray,
    keys: Sequence[Key],
    datasets: Sequence[str],
    penalty: float = 1.0,
) -> dict[Key, dict[str, float]]:
    """Fit an offset for each target, and a factor of each statistic that all targets share.

    Newton's method on the cross-entropy of the Dice, which needs to be no 0 or 1, with a ridge
    penalty. Each mask weighs one over the square root of how many there are of its target in its
    data set.

    Args:
        statistics: `(masks, 5)`.
        dice: `(masks,)`, from 0 to 1.
        keys: the target of each mask.
        datasets: the data set of each mask.
        penalty: of the squares of the factors, of standardised statistics, and of the offsets. The
            default was chosen on data sets that were left out of the fit; from a hundredth of it
            to three times as much is nearly as good.

    Returns:
        dict of target to its coefficients by name, see
        `keras_espmedsam.inference.quality.COEFFICIENTS`.

    Example:
        >>> x = np.linspace(-2, 2, 40)[:, None] * np.eye(5)[0]
        >>> found = fit_coefficients(x, 1 / (1 + np.exp(-x[:, 0])), ["lungs"] * 40, [""] * 40)
        >>> 0.8 < found["lungs"]["expected_dice"] < 1
        True
    """
    statistics = np.asarray(statistics, float)
    dice = np.asarray(dice, float)
    groups = list(zip(keys, datasets, strict=True))
    counts = {group: groups.count(group) for group in set(groups)}
    weights = np.array([counts[group] ** -0.5 for group in groups])
    weights *= len(weights) / weights.sum()
    scaled, mean, scale = standardised(statistics, weights)
    names = list(dict.fromkeys(keys))
    own = np.array([[key == name for name in names] for key in keys], float)
    first, solution = fit_logits(np.hstack([scaled, own]), dice, weights, penalty)
    count = statistics.shape[1]
    factors = solution[:count] / scale
    offset = first - factors @ mean
    return {
        name: {
            "offset": _rounded(offset + of),
            **{key: _rounded(value) for key, value in zip(STATISTICS, factors, strict=True)},
        }
        for name, of in zip(names, solution[count:], strict=True)
    }


def predicted_dice(coefficients: Mapping[str, float], statistics: np.ndarray) -> np.ndarray:
    """Predict the Dice of masks of one target, as the model does.

    Args:
        coefficients: those of the target, from `fit_coefficients`.
        statistics: `(masks, 5)`, or `(5,)` for one mask.

    Returns:
        `(masks,)`, or a number.

    Example:
        >>> coefficients = {"offset": 0.0, **dict.fromkeys(STATISTICS, 0.0)}
        >>> predicted_dice(coefficients, np.ones((2, 5))).tolist()
        [0.5, 0.5]
    """
    factors = np.array([coefficients[name] for name in STATISTICS])
    logits = coefficients["offset"] + np.asarray(statistics, float) @ factors
    return 0.5 * (1 + np.tanh(0.5 * logits))


def _rounded(value):
    return float(f"{value:.{_DIGITS}g}")
