"""The windows of DICOM files: which of their values are black and white, as they want it."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any, overload

import numpy as np

from keras_espmedsam.data.formats.lookup_table import LookupTable
from keras_espmedsam.imaging.stored_values import to_unit


def window_function(fields: Any, little_endian: bool) -> Callable[[np.ndarray], np.ndarray] | None:
    """The function of values that a file's VOI LUT or window asks for.

    The first table that is complete counts, then the first window that the standard allows.

    Args:
        fields: pydicom's `Dataset` that holds them: a file's, or an item of a functional group.
        little_endian: whether the file is.

    Returns:
        Function of rescaled values that gives float32 in [0, 1]; None without a usable window.

    Source: DICOM PS3.3, C.11.2.
    """
    for item in fields.get("VOILUTSequence") or []:
        with contextlib.suppress(AttributeError, TypeError, ValueError):  # an incomplete table
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
    # The window of width w covers w values, hence w - 1 steps. The half pixel is the standard's.
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
    """The first number of a field that may hold several, none, or what is no number.

    Args:
        value: the field's value, as pydicom gives it.
        default: float or None, for where there is none.

    Example:
        >>> first_number(["7.5", "3"]), first_number("nan"), first_number(None, 1.0)
        (7.5, None, 1.0)

    Source: ours.
    """
    found = _numbers(value)
    return found[0] if found and found[0] is not None else default


def _numbers(value: Any) -> list[float | None]:
    """The numbers of a field; None for those of them that are no finite numbers."""
    values = value if hasattr(value, "__len__") and not isinstance(value, str) else [value]
    found: list[float | None] = []
    for value in values:
        try:
            found.append(float(value))
        except (TypeError, ValueError):
            found.append(None)
    return [value if value is not None and np.isfinite(value) else None for value in found]
