"""The windows and VOI LUTs of DICOM files, which define black and white."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from keras_espmedsam.data.formats.lookup_table import LookupTable
from keras_espmedsam.imaging.stored_values import to_unit


def window_function(fields: Any, little_endian: bool) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function that applies a file's VOI LUT or window.

    The first complete table is used, or else the first window that the standard allows.

    Args:
        fields: pydicom's `Dataset` with these fields: a file, or an item of a functional group.
        little_endian: whether the file is little-endian.

    Returns:
        Function from rescaled values to float32 in [0, 1]; None without a usable window.

    Source: DICOM PS3.3, C.11.2.
    """
    for item in fields.get("VOILUTSequence") or []:
        with contextlib.suppress(AttributeError, TypeError, ValueError):  # Incomplete table.
            table = LookupTable.of(item.LUTDescriptor, item.LUTData, little_endian)
            return lambda values: to_unit(table(values), 0, table.white)
    function = str(fields.get("VOILUTFunction") or "LINEAR").strip().upper()
    centres, widths = (_numbers(fields.get(name)) for name in ("WindowCenter", "WindowWidth"))
    for centre, width in zip(centres, widths, strict=False):
        if centre is None or width is None or width <= 0:
            continue
        if function == "SIGMOID":
            return functools.partial(_sigmoid, centre=centre, width=width)
        if function == "LINEAR_EXACT":
            return functools.partial(to_unit, low=centre - width / 2, high=centre + width / 2)
        if width >= 1:
            return _linear(centre, width)
    return None


def _linear(centre, width):
    # A window of width w covers w values, so w - 1 steps. The half pixel is from the standard.
    low, high = centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
    if width == 1:
        return lambda values: (values > low).astype(np.float32)
    return functools.partial(to_unit, low=low, high=high)


def _sigmoid(values, centre, width):
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-4 * (values - centre) / width))).astype(np.float32)


@overload
def first_number(value: Any, default: float) -> float: ...
@overload
def first_number(value: Any, default: None = None) -> float | None: ...
def first_number(value: Any, default: float | None = None) -> float | None:
    """Return the first number of a field.

    Args:
        value: the field's value from pydicom: one or several of any type, or None.
        default: the result if the first value is not a finite number.

    Example:
        >>> first_number(["7.5", "3"]), first_number("nan"), first_number(None, 1.0)
        (7.5, None, 1.0)
    """
    found = _numbers(value)
    return found[0] if found and found[0] is not None else default


def _numbers(value: Any) -> list[float | None]:
    """Return the values of a field as floats; None for values that are not finite numbers."""
    values = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
    found: list[float | None] = []
    for value in values:
        try:
            found.append(float(value))
        except (TypeError, ValueError):
            found.append(None)
    return [value if value is not None and np.isfinite(value) else None for value in found]
