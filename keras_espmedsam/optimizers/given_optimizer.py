"""What Keras offers no public way to: the rate of an optimiser that another one steps for.

Everything here reads or sets two attributes that every Keras optimiser has since version 3.0,
`_learning_rate` (a variable, a schedule or a function) and `_iterations`.
"""

import keras


def configuration(optimizer):
    """The configuration of an optimiser but for its learning rate.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Returns:
        dict, for `type(optimizer).from_config`; `learning_rate`, where there is one, is a
        placeholder: a schedule or function of the user's own need not be serialisable to train.

    Example:
        >>> configuration(keras.optimizers.SGD(lambda: 0.1, momentum=0.9))["momentum"]
        0.9

    Source: ours.
    """
    attributes = vars(optimizer)
    rate = attributes["_learning_rate"]
    attributes["_learning_rate"] = None
    try:
        return optimizer.get_config()
    finally:
        attributes["_learning_rate"] = rate


def given_rate(optimizer):
    """The learning rate as an optimiser was given it.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Returns:
        `keras.Variable` that holds a number, `LearningRateSchedule` or function.

    Example:
        >>> float(given_rate(keras.optimizers.SGD(0.25)))
        0.25

    Source: ours.
    """
    return vars(optimizer)["_learning_rate"]


def share_rate(optimizer, stepping):
    """Let an optimiser read and set the rate and the count of steps of the one that steps for it.

    Args:
        optimizer: `keras.optimizers.Optimizer`, which takes no step itself.
        stepping: `keras.optimizers.Optimizer`.

    Example:
        >>> sgd, stepping = keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.1)
        >>> share_rate(sgd, stepping)
        >>> sgd.learning_rate = 0.25
        >>> float(stepping.learning_rate)
        0.25

    Source: ours.
    """
    # Past Keras' tracking, so that its own two variables stay those that it saves: in a file, the
    # rate that was set last is that of `stepping`, and this one's must not take its place.
    for name in ("_learning_rate", "_iterations"):
        vars(optimizer)[name] = vars(stepping)[name]


def is_number(rate):
    """Whether a rate, as `given_rate` gives it, is a number that can be set.

    Example:
        >>> is_number(given_rate(keras.optimizers.SGD(0.25))), is_number(lambda: 0.25)
        (True, False)

    Source: ours.
    """
    return isinstance(rate, keras.Variable)
