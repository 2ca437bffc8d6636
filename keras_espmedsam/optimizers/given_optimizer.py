"""Learning rate of an optimizer for which another one steps: Keras has no public way to share it.

Everything here reads or sets two attributes that every Keras optimizer has since version 3.0,
`_learning_rate` (a variable, a schedule or a function) and `_iterations`.
"""

import keras


def configuration(optimizer):
    """Return the configuration of an optimizer without its learning rate.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Returns:
        dict, for `type(optimizer).from_config`; a `learning_rate` in it is a placeholder, so that
        a custom schedule or function need not be serialisable for training.

    Example:
        >>> configuration(keras.optimizers.SGD(lambda: 0.1, momentum=0.9))["momentum"]
        0.9
    """
    attributes = vars(optimizer)
    rate = attributes["_learning_rate"]
    attributes["_learning_rate"] = None
    try:
        return optimizer.get_config()
    finally:
        attributes["_learning_rate"] = rate


def given_rate(optimizer):
    """Return the learning rate as it was given to an optimizer.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Returns:
        `keras.Variable` with a number, `LearningRateSchedule` or function.

    Example:
        >>> float(given_rate(keras.optimizers.SGD(0.25)))
        0.25
    """
    return vars(optimizer)["_learning_rate"]


def share_rate(optimizer, stepping):
    """Make an optimizer share the rate and step count of the one that steps for it.

    Args:
        optimizer: `keras.optimizers.Optimizer`, which takes no step itself.
        stepping: `keras.optimizers.Optimizer`.

    Example:
        >>> sgd, stepping = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)
        >>> share_rate(sgd, stepping)
        >>> sgd.learning_rate = 0.25
        >>> float(stepping.learning_rate)
        0.25
    """
    # Bypass Keras' tracking, so that it saves its own two variables: in a file, the rate that was
    # set last is that of `stepping`, and this one's must not replace it.
    for name in ("_learning_rate", "_iterations"):
        vars(optimizer)[name] = vars(stepping)[name]


def is_number(rate):
    """Whether a rate from `given_rate` is a number that can be set.

    Example:
        >>> is_number(given_rate(keras.optimizers.SGD(0.25))), is_number(lambda: 0.25)
        (True, False)
    """
    return isinstance(rate, keras.Variable)
