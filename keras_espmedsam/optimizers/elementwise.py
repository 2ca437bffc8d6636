"""Which optimisers act element by element."""

import keras

_NAMES = (
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Ftrl",
    "Lion",
    "Nadam",
    "RMSprop",
    "SGD",
)


def is_elementwise(optimizer):
    """Whether an optimiser moves each element of a variable by that element's gradient alone.

    Only then is a step on several variables joined to one vector the same as on each of them.
    Known are Keras' own; of all others, subclasses of those too, nobody can tell, so that they
    are asked: a class with the attribute `elementwise = True` says that it does, and that what it
    keeps per variable has the variable's shape.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Example:
        >>> is_elementwise(keras.optimizers.Adam()), is_elementwise(keras.optimizers.Lamb())
        (True, False)

    Source: ours.
    """
    # What `Adam(...)` gives is on PyTorch a class of the backend's.
    known = {type(kind.__new__(kind)) for kind in (getattr(keras.optimizers, n) for n in _NAMES)}
    return type(optimizer) in known or bool(getattr(type(optimizer), "elementwise", False))
