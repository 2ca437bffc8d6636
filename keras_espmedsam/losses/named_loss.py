"""Build a loss from its name in a configuration."""

import inspect
from collections.abc import Mapping

import keras
import numpy as np

from keras_espmedsam.errors import InputError, did_you_mean


def named_loss(registry, identifier, shape):
    """Return the loss of a name; a loss object is returned unchanged.

    Args:
        registry: `Registry` of classes derived from `keras.losses.Loss`.
        identifier: str, a name; dict, a `name` and arguments of its class; or a
            `keras.losses.Loss`.
        shape: tuple of int. Shape of a small batch on which the arguments are tried.

    Returns:
        `keras.losses.Loss`.

    Raises:
        InputError: for an unknown name, arguments that the loss does not have or cannot work with,
            and a registry entry that does not make a loss.
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
                f"The {registry.noun} {name!r} was registered as an object, with its arguments; "
                f"leave out {', '.join(map(str, arguments))}."
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
        f"The {registry.noun} {name!r} cannot be built{_with(arguments)} ({error}); expected a "
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
    """Find out now, not hours later, that an argument has the wrong type."""
    zeros = np.zeros(shape, "float32")
    try:
        value = loss(zeros, zeros)
        number = float(value) if not len(value.shape) else None
    # Backends raise all kinds of errors for, say, a string instead of a number.
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
