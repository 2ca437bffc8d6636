"""What may be said of an image's stored values: which of them are black and white."""

import math
import re
from typing import Any

from keras_espmedsam.errors import InputError

AUTO, FULL = "auto", "full"
Intensity = str | tuple[float, float]
"""What is black and white: `"auto"`, `"full"` or a pair of values."""

INTENSITIES = f"'{AUTO}', '{FULL}' or LOW:HIGH, such as 0:4095"
"""What may be said of the values, for messages."""


def parse_intensity(value: Any, where: str = "") -> Intensity | None:
    """What was said of black and white, in the form that the readers take.

    Args:
        value: `"auto"`, `"full"`, `"LOW:HIGH"`, a pair of numbers, or None.
        where: str. What said it, for the error, such as `"--intensity"`.

    Returns:
        `"auto"`, `"full"`, a pair of floats (black, white), or None for None.

    Raises:
        InputError: for anything else, and where black is not below white.

    Example:
        >>> parse_intensity("0:4095"), parse_intensity((-160, 240)), parse_intensity("full")
        ((0.0, 4095.0), (-160.0, 240.0), 'full')

    Source: ours.
    """
    if value is None or (isinstance(value, str) and value in (AUTO, FULL)):
        return value
    parts = value
    if isinstance(value, str):
        parts = re.split(r"\s*:\s*", value.strip())
    try:
        low, high = (float(part) for part in parts)
        if math.isfinite(low) and math.isfinite(high) and low < high:
            return low, high
    except (TypeError, ValueError):
        pass
    shown = repr(value) if len(repr(value)) <= 60 else repr(value)[:57] + "..."
    raise InputError(
        f"Received the intensity {shown}{where and f' ({where})'}; expected {INTENSITIES}: the "
        "values that are black and white, the first below the second."
    )


def already_read(model: Any) -> dict[str, str]:
    """What a model is to be told with images whose brightness is known: files were read by it.

    Args:
        model: what has `segment` or `classify` and, maybe, an `intensity` of its own, which would
            be applied to brightness as to stored values.

    Returns:
        dict. The argument `intensity`, where it makes a difference.

    Example:
        >>> import types
        >>> already_read(types.SimpleNamespace(intensity=(0, 4095)))
        {'intensity': 'auto'}

    Source: ours.
    """
    return {} if getattr(model, "intensity", AUTO) == AUTO else {"intensity": AUTO}
