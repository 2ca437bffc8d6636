"""The user's choice of the values shown as black and white."""

import math
import re
from typing import Any

from keras_espmedsam.errors import InputError

AUTO, FULL = "auto", "full"
Intensity = str | tuple[float, float]
"""The values shown as black and white: `"auto"`, `"full"` or a pair of values."""

INTENSITIES = f"'{AUTO}', '{FULL}' or LOW:HIGH, such as 0:4095"
"""The valid choices, for messages."""


def parse_intensity(value: Any, where: str = "") -> Intensity | None:
    """Check and parse a choice of black and white.

    Args:
        value: `"auto"`, `"full"`, `"LOW:HIGH"`, a pair of numbers, or None.
        where: str. Where it was given, for the message, such as `"--intensity"`.

    Returns:
        `"auto"`, `"full"`, a pair of floats (black, white), or None for None.

    Raises:
        InputError: for anything else, or if black is not below white.

    Example:
        >>> parse_intensity("0:4095"), parse_intensity((-160, 240)), parse_intensity("full")
        ((0.0, 4095.0), (-160.0, 240.0), 'full')
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
    """Return the `intensity` argument for images that are already converted to brightness.

    Args:
        model: object with `segment` or `classify`. If it has its own `intensity`, that would be
            applied to brightness as if it were stored values.

    Returns:
        dict with the argument `intensity`; empty if it makes no difference.

    Example:
        >>> import types
        >>> already_read(types.SimpleNamespace(intensity=(0, 4095)))
        {'intensity': 'auto'}
    """
    return {} if getattr(model, "intensity", AUTO) == AUTO else {"intensity": AUTO}
