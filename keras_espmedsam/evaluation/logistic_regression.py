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
    mean = np.average(inputs, axis=0, weights=weights)
    scale = np.sqrt(np.average((inputs - mean) ** 2, axis=0, weights=weights)) + 1e-6
    rows = np.hstack([np.ones((len(inputs), 1)), (inputs - mean) / scale])
    ridge = np.diag([0.0] + [penalty] * inputs.shape[1])
    solution = np.zeros(rows.shape[1])
    for _ in range(_STEPS):
        predicted = 0.5 * (1 + np.tanh(0.5 * rows @ solution))
        curvature = weights * np.maximum(predicted * (1 - predicted), _LEAST_CURVATURE)
        hessian = rows.T @ (rows * curvature[:, None]) + ridge
        gradient = rows.T @ (weights * (labels - predicted)) - ridge @ solution
        solution += np.linalg.solve(hessian, gradient)
    factors = solution[1:] / scale
    return float(solution[0] - factors @ mean), factors
