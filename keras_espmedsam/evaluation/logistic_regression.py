"""Logistic regression with a ridge penalty."""

import numpy as np

_STEPS = 50
# A Newton step stays finite where all predictions are certain.
_LEAST_CURVATURE = 1e-3


def logistic_regression(
    inputs: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalty: float
) -> tuple[float, np.ndarray]:
    """Fit the logit of a label as an offset and a factor of each input, by Newton's method.

    Inputs are standardised for the fit, so that the penalty is the same for all; the offset has
    none.

    Args:
        inputs: `(samples, inputs)`.
        labels: `(samples,)`, from 0 to 1.
        weights: `(samples,)`; they are scaled to a mean of 1.
        penalty: of the squared factors of standardised inputs, halved, beside the sum of the
            samples' cross-entropies.

    Returns:
        The offset, and the factors `(inputs,)`, of inputs as they were given.

    Example:
        >>> x = np.array([[-1.0], [-0.5], [0.5], [1.0]])
        >>> offset, factors = logistic_regression(x, np.array([0, 0, 1, 1]), np.ones(4), 1.0)
        >>> round(offset, 6), bool(factors[0] > 1)
        (0.0, True)
    """
    inputs = np.asarray(inputs, float)
    weights = np.asarray(weights, float) / np.mean(weights)
    rows, mean, scale = standardised(inputs, weights)
    offset, factors = fit_logits(rows, labels, weights, penalty)
    factors = factors / scale
    return float(offset - factors @ mean), factors


def standardised(
    inputs: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shift and scale inputs to a weighted mean of 0 and a deviation of 1.

    Args:
        inputs: `(samples, inputs)`.
        weights: `(samples,)`.

    Returns:
        The inputs, and their mean and deviation as they were given, each `(inputs,)`.

    Example:
        >>> rows, mean, _ = standardised(np.array([[1.0], [3.0]]), np.ones(2))
        >>> rows.round(3).tolist(), mean.tolist()
        ([[-1.0], [1.0]], [2.0])
    """
    mean = np.average(inputs, axis=0, weights=weights)
    scale = np.sqrt(np.average((inputs - mean) ** 2, axis=0, weights=weights)) + 1e-6
    return (inputs - mean) / scale, mean, scale


def fit_logits(
    rows: np.ndarray, labels: np.ndarray, weights: np.ndarray, penalty: float
) -> tuple[float, np.ndarray]:
    """Fit the logit of a label as an offset and a factor of each input as it is given.

    Args:
        rows: `(samples, inputs)`.
        labels: `(samples,)`, from 0 to 1.
        weights: `(samples,)`.
        penalty: of the squared factors, halved, beside the sum of the cross-entropies.

    Returns:
        The offset, and the factors `(inputs,)`.

    Example:
        >>> offset, factors = fit_logits(np.array([[-1.0], [1.0]]), np.arange(2), np.ones(2), 0.1)
        >>> abs(round(offset, 6)), bool(factors[0] > 1)
        (0.0, True)
    """
    rows = np.hstack([np.ones((len(rows), 1)), rows])
    ridge = np.diag([0.0] + [penalty] * (rows.shape[1] - 1))
    solution = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        predicted = 0.5 * (1 + np.tanh(0.5 * rows @ solution))
        curvature = weights * np.maximum(predicted * (1 - predicted), _LEAST_CURVATURE)
        hessian = rows.T @ (rows * curvature[:, None]) + ridge
        gradient = rows.T @ (weights * (labels - predicted)) - ridge @ solution
        solution += np.linalg.solve(hessian, gradient)
    return float(solution[0]), solution[1:]
