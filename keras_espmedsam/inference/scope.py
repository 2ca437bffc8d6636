"""Whether an image is of the kind that was said, as a property of a preset and of its results."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

IN_SCOPE = 1.0
"""The largest score of an image in scope."""

FURTHER_OUTPUTS = ("quality", "scope_score")
"""What a model can give besides its masks: outputs that are not trained."""

Scope = dict[str, list[float]]
"""dict of modality to its coefficients, in the order in which `ScopeScore` takes them."""


def checked_scope(given: Any, modalities: Sequence[str], width: int) -> Scope:
    """Check the coefficients from which a model tells which images are in scope.

    Args:
        given: dict of modality to its coefficients; None for none.
        modalities: the model's.
        width: the channels of the model's embedding.

    Returns:
        The same as plain data.

    Raises:
        InputError: for an unknown modality, and for missing or wrong coefficients.

    Example:
        >>> checked_scope({"xray": (0, 1, 0.5)}, ("xray", "fundus"), 1)
        {'xray': [0.0, 1.0, 0.5]}
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(
            f"Received {shown_value(given)} as the scope; expected a dict of modality to "
            "coefficients. fit_scope makes it."
        )
    unknown = [name for name in given if name not in modalities]
    if unknown:
        raise InputError(
            f"Received the modality {shown_value(unknown[0])} in the scope; expected one of "
            f"{', '.join(modalities)}."
        )
    count = 2 * width + 1
    return {name: _coefficients(of, name, count) for name, of in given.items()}


def _coefficients(given, modality, count):
    listed = list(given) if isinstance(given, Iterable) else []
    right = all(map(_is_finite_number, listed))
    if len(listed) != count or not right:
        raise InputError(
            f"Received {shown_value(given)} as the scope of {modality}; expected {count} numbers, "
            "an offset and two for each channel of the model's embedding. fit_scope makes them."
        )
    return [float(one) for one in listed]


def _is_finite_number(value: Any) -> bool:
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return number and math.isfinite(value)


def is_in_scope(score: float | None) -> bool | None:
    """Return whether an image is in scope; None if it has no score.

    Example:
        >>> is_in_scope(0.5), is_in_scope(1.5), is_in_scope(None)
        (True, False, None)
    """
    return None if score is None else bool(score <= IN_SCOPE)


def out_of_scope(modality: str, unlike: int, count: int) -> str:
    """Return the end of a sentence that begins with the path of a file.

    Args:
        modality: the one that was said or recognised.
        unlike: how many of the file's images are out of scope.
        count: how many images the file has.

    Example:
        >>> out_of_scope("xray", 1, 1)
        'it looks unlike an image of the modality xray, so its mask may mean nothing'
    """
    if count == 1:
        return f"it looks unlike an image of the modality {modality}, so its mask may mean nothing"
    return (
        f"{unlike} of its {count} images look unlike images of the modality {modality}, so their "
        "masks may mean nothing"
    )


def coefficients_by_modality(scope: Scope, modalities: Sequence[str]) -> tuple:
    """Return the coefficients as the layer `ScopeScore` takes them.

    Example:
        >>> coefficients_by_modality({"fundus": [0.5, 1.0, 0.0]}, ("xray", "fundus"))
        ((), (0.5, 1.0, 0.0))
    """
    return tuple(tuple(scope.get(name, ())) for name in modalities)
