"""Which arguments an augmentation accepts, and how it is built from a configuration."""

import dataclasses
import numbers
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError, did_you_mean


class ArgumentRange(NamedTuple):
    """What an argument must be: in words for the message, and as a test."""

    words: str
    holds: Callable[[Any], bool]


def is_number(value):
    """Whether a value is a number; True and False are none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def number_between(low, high, words=None):
    """Return the range of numbers from `low` to `high`, both included.

    Example:
        >>> number_between(0, 5).holds(5), number_between(0, 5).words
        (True, 'a number from 0 to 5')
    """
    return ArgumentRange(
        words or f"a number from {low} to {high}",
        lambda value: is_number(value) and low <= value <= high,
    )


def pair_between(low, high, words):
    """Return the range of two numbers between `low` and `high`, the smaller one first.

    Example:
        >>> pair_between(0, 5, "two numbers").holds((1, 6))
        False
    """
    return ArgumentRange(
        words,
        lambda value: (
            isinstance(value, tuple)
            and len(value) == 2
            and all(map(is_number, value))
            and low <= value[0] <= value[1] <= high
        ),
    )


FRACTION = number_between(0, 1)
FLAG = ArgumentRange("True or False", lambda value: isinstance(value, bool))
ABOVE_ZERO = np.nextafter(0, 1)
"""The lower end of a range that leaves 0 out."""
FINITE = np.finfo(float).max
"""The upper end of a range without one."""


def check_ranges(instance, ranges, what):
    """Check all fields of a dataclass.

    Args:
        instance: a dataclass.
        ranges: dict of a field's name to `ArgumentRange`; `FRACTION` for others.
        what: str. What it is, in the message: "an augmentation".

    Raises:
        InputError: for a value outside of its range.
    """
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        expected = ranges.get(field.name, FRACTION)
        if not expected.holds(value):
            raise InputError(
                f"Received {field.name}={value!r} for {what}; expected {expected.words}."
            )


def arguments_of(config, cls, what, example):
    """Return the arguments that a configuration gives, with tuples in place of lists.

    Args:
        config: dict of the arguments.
        cls: the dataclass that they are for.
        what: str. What it is, in messages: "an augmentation".
        example: dict, shown where `config` is no dict.

    Raises:
        InputError: for an unknown key, or no dict.
    """
    if not isinstance(config, dict):
        raise InputError(
            f"Received {config!r} for {what}; expected its arguments by name, such as {example}."
        )
    known = [field.name for field in dataclasses.fields(cls)]
    unknown = [str(key) for key in config if key not in known]
    if unknown:
        raise InputError(
            f"Received {', '.join(map(shown, unknown))} for {what}; expected some of "
            f"{', '.join(known)}{did_you_mean(unknown[0], known)}"
        )
    return {
        name: tuple(value) if isinstance(value, list) else value for name, value in config.items()
    }
