"""Convert `class_weight` of `fit` to an array of weights by class."""

import numbers

import numpy as np

from keras_espmedsam.errors import InputError


def weights_by_class(class_weight, count, names=None):
    """Return one weight per class; 1 for classes that are not given.

    Args:
        class_weight: dict of a class's number or name to its weight.
        count: int. Number of classes.
        names: tuple of str or None. The classes' names.

    Returns:
        float32 array `(count,)`.

    Raises:
        InputError: for anything else, an unknown class, and a weight below 0.

    Example:
        >>> weights_by_class({"xray": 3}, 2, ("fundus", "xray")).tolist()
        [1.0, 3.0]

    Source: `keras.Model.fit`, the form of the argument.
    """
    known = f"0 to {count - 1}" + (f" or {', '.join(names)}" if names else "")
    if not isinstance(class_weight, dict):
        raise InputError(
            f"Received class_weight of type {type(class_weight).__name__}; expected a dict of "
            f"classes ({known}) to weights."
        )
    weights = np.ones(count, "float32")
    for key, weight in class_weight.items():
        if isinstance(key, numbers.Integral) and not isinstance(key, bool) and 0 <= key < count:
            index = int(key)
        elif isinstance(key, str) and key in (names or ()):
            index = names.index(key)
        else:
            raise InputError(f"Received class_weight for the class {key!r}; expected {known}.")
        if not (isinstance(weight, numbers.Real) and 0 <= weight < np.inf):
            raise InputError(
                f"Received class_weight {weight!r} for the class {key!r}; expected a number of 0 "
                "or more."
            )
        weights[index] = weight
    return weights
