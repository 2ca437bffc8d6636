"""Mean and standard deviation of a metric over images."""

import numpy as np


def mean_and_std(values: np.ndarray) -> dict[str, float | None]:
    """Compute mean and population standard deviation; None if there are no values.

    Args:
        values: one value per image.

    Example:
        >>> mean_and_std(np.array([1.0, 3.0]))
        {'mean': 2.0, 'std': 1.0}
    """
    if not len(values):
        return {"mean": None, "std": None}
    return {"mean": float(np.mean(values)), "std": float(np.std(values))}
