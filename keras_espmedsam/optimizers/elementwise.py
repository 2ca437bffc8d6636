"""Which optimizers work element by element."""

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
    """Whether an optimizer updates each element of a variable from that element's gradient alone.

    Only then is a step on several variables joined to one vector the same as on each of them.
    Keras' own are known. Others, including subclasses of those, must declare it: a class with the
    attribute `elementwise = True` says that it does, and that its states have the shape of their
    variable.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Example:
        >>> is_elementwise(keras.optimizers.Adam()), is_elementwise(keras.optimizers.Lamb())
        (True, False)
    """
    # On PyTorch, `Adam(...)` is an instance of a class of the backend.
    known = {type(kind.__new__(kind)) for kind in (getattr(keras.optimizers, n) for n in _NAMES)}
    return type(optimizer) in known or bool(getattr(type(optimizer), "elementwise", False))
