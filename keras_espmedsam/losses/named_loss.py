"""A loss by its name, as configurations give it."""

import inspect
from collections.abc import Mapping

import keras
import numpy as np

from keras_espmedsam.errors import InputError, did_you_mean


def named_loss(registry, identifier, shape):
    """The loss that a name stands for, or a loss itself.

    Args:
        registry: `Registry` of classes derived from `keras.losses.Loss`.
        identifier: str, a name; dict, a `name` and arguments of its class; or
            `keras.losses.Loss`, which is given back.
        shape: tuple of int. A small batch of what the loss compares, on which arguments are tried.

    Returns:
        `keras.losses.Loss`.

    Raises:
        InputError: for an unknown name, arguments that the loss does not have or cannot work with,
            and an entry of the registry that makes no loss.

    Source: ours.
    """
    if isinstance(identifier, keras.losses.Loss):
        return identifier
    name, arguments = identifier, {}
    if isinstance(identifier, Mapping):
        arguments = {key: value for key, value in identifier.items() if key != "name"}
        name = identifier.get("name")
    if not isinstance(name, str) or name not in registry:
        raise InputError(
            f"Received loss={identifier!r}; expected one of {', '.join(registry.names())}, a dict "
            "of such a name and arguments of its class, or a keras.losses.Loss"
            f"{did_you_mean(name, registry.names())}"
        )
    entry = registry.load(name)
    if isinstance(entry, keras.losses.Loss):
        if arguments:
            raise InputError(
                f"The {registry.noun} {name!r} was registered as it is, with its arguments; leave "
                f"out {', '.join(map(str, arguments))}."
            )
        return entry
    try:
        loss = entry(**arguments)
    except (TypeError, ValueError) as error:
        raise InputError(_why_not(registry, name, entry, arguments, error)) from error
    if not isinstance(loss, keras.losses.Loss):
        raise InputError(
            f"The {registry.noun} {name!r} makes an object of {type(loss).__name__}; expected a "
            "class derived from keras.losses.Loss, or a function that gives such an object."
        )
    if arguments:
        _try(registry, name, loss, arguments, shape)
    return loss


def _why_not(registry, name, entry, arguments, error):
    known = _parameters(entry)
    for argument in arguments:
        if argument not in known:
            return (
                f"The {registry.noun} {name!r} has no argument {argument}"
                f"{did_you_mean(argument, known)} Its arguments: {', '.join(known) or 'none'}."
            )
    return (
        f"The {registry.noun} {name!r} cannot be made{_with(arguments)} ({error}); expected a "
        "class derived from keras.losses.Loss that needs no other arguments."
    )


def _parameters(entry):
    try:
        parameters = inspect.signature(entry).parameters.values()
    except (TypeError, ValueError):
        return []
    given = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [one.name for one in parameters if one.kind in given and one.name not in ("name",)]


def _try(registry, name, loss, arguments, shape):
    """Learn now, and not hours later, that an argument is of the wrong kind."""
    zeros = np.zeros(shape, "float32")
    try:
        value = loss(zeros, zeros)
        number = float(value) if not len(value.shape) else None
    # Whatever a backend raises for, say, a text in place of a number.
    except Exception as error:
        raise InputError(
            f"The {registry.noun} {name!r} cannot be used{_with(arguments)} "
            f"({type(error).__name__}); expected values as its documentation gives them."
        ) from error
    if number is None:
        raise InputError(
            f"The {registry.noun} {name!r}{_with(arguments)} gives values of shape "
            f"{tuple(value.shape)}; expected one number for a batch, so leave out reduction."
        )


def _with(arguments):
    shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    return f" with {shown}" if shown else ""
