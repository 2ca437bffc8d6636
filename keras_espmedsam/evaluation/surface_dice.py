"""Surface Dice: how much of two outlines lies within a tolerance of each other."""

import math
import numbers
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import ndimage

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.evaluation.masks import both_masks, surface

DEFAULT_TOLERANCE = 2.0
"""The tolerance of `nsd` in pixels if none is given."""

_UNITS = ("mm", "px")


def nsd(
    truth: np.ndarray,
    prediction: np.ndarray,
    *,
    tolerance: float | str = DEFAULT_TOLERANCE,
    spacing: Sequence[float] | None = None,
) -> float:
    """Normalised surface Dice: the part of both surfaces that is within a tolerance of the other.

    The surface of a mask is that of `hausdorff_distance`; each of its pixels counts once. (The code
    of DeepMind's surface-distance weighs the pieces of an outline between pixels by their length,
    and gives slightly other values.)

    Args:
        truth: true mask `(height, width)`, nonzero is foreground.
        prediction: predicted mask of the same shape.
        tolerance: the largest distance that counts as equal, about what two readers differ by: a
            number of pixels, or text such as `"2px"` or `"1.5mm"`.
        spacing: height and width of a pixel in mm, for a tolerance in mm.

    Returns:
        From 0 to 1; 1 if both masks are empty, 0 if only one is, and NaN if the tolerance is in mm
        and the spacing is unknown.

    Raises:
        InputError: when the masks are not two-dimensional or their shapes differ, or for a
            tolerance or spacing that cannot be used.

    Example:
        >>> truth, prediction = np.zeros((20, 20)), np.zeros((20, 20))
        >>> truth[5:15, 5:15] = prediction[5:15, 8:18] = 1
        >>> nsd(truth, prediction, tolerance=3)
        1.0
        >>> round(nsd(truth, prediction, tolerance="1mm", spacing=(0.5, 0.5)), 3)
        0.611

    Source: Nikolov et al. 2021, JMIR 23(7):e26151; Maier-Hein et al. 2024, "Metrics reloaded",
    Nature Methods 21:195.
    """
    truth, prediction = both_masks(truth, prediction)
    if truth.ndim != 2:
        raise InputError(f"Received masks of shape {truth.shape}; expected (height, width).")
    most, unit = parse_tolerance(tolerance)
    sampling = _checked_spacing(spacing)
    if unit == "px":
        sampling = None
    elif sampling is None:
        return math.nan
    if not truth.any() or not prediction.any():
        return float(truth.any() == prediction.any())
    # Only the bounding box of both masks is needed.
    window = ndimage.find_objects((truth | prediction).astype(np.uint8))[0]
    first, second = surface(truth[window]), surface(prediction[window])
    near = _near(first, second, most, sampling) + _near(second, first, most, sampling)
    return near / int(np.count_nonzero(first) + np.count_nonzero(second))


def parse_tolerance(tolerance: Any) -> tuple[float, str]:
    """Return a tolerance's value and its unit, `"px"` or `"mm"`.

    Args:
        tolerance: a number of pixels, or text: `"2"`, `"2px"` or `"1.5mm"`.

    Raises:
        InputError: for anything else, such as a negative number.

    Example:
        >>> parse_tolerance(2), parse_tolerance("1.5 mm")
        ((2.0, 'px'), (1.5, 'mm'))
    """
    value, unit = tolerance, "px"
    if isinstance(tolerance, str):
        text = tolerance.strip()
        unit = next((one for one in _UNITS if text.endswith(one)), "")
        value, unit = text.removesuffix(unit), unit or "px"
    try:
        if isinstance(value, bool) or not isinstance(value, str | numbers.Real):
            raise ValueError
        found = float(value)
        if not math.isfinite(found) or found < 0:
            raise ValueError
    except ValueError:
        raise InputError(
            f"Received the tolerance {shown_value(tolerance)}; expected a distance of 0 or more in "
            "pixels, such as 2, or in millimetres, such as '1.5mm'."
        ) from None
    return found, unit


def tolerances_by_target(tolerance: Any, targets: Sequence[str]) -> dict[str, str]:
    """Return the tolerance of each target as text, in one way of writing.

    Args:
        tolerance: one for all targets, or a dict of target to tolerance, where the others have
            that of an empty name, or else the default of 2 pixels; None for that.
        targets: names of the targets.

    Raises:
        InputError: for a tolerance that cannot be used, or a target that is not among them.

    Example:
        >>> tolerances_by_target({"vessels": 1}, ("vessels", "optic_disc"))
        {'vessels': '1px', 'optic_disc': '2px'}
    """
    if not isinstance(tolerance, Mapping):
        return dict.fromkeys(targets, _written(tolerance))
    for name in tolerance:
        if name and name not in targets:
            raise InputError(
                f"Received a tolerance of the target {shown_value(name)}"
                f"{did_you_mean(name, tuple(targets))} The measured targets are "
                f"{', '.join(targets)}."
            )
    others = tolerance.get("")
    return {name: _written(tolerance.get(name, others)) for name in targets}


def _written(tolerance):
    value, unit = parse_tolerance(DEFAULT_TOLERANCE if tolerance is None else tolerance)
    return f"{value:g}{unit}"


def _checked_spacing(spacing):
    if spacing is None:
        return None
    found = np.asarray(spacing, np.float64)
    if found.shape != (2,) or not np.isfinite(found).all() or (found <= 0).any():
        raise InputError(
            f"Received spacing={shown_value(spacing)}; expected the height and the width of a "
            "pixel in mm, two numbers above 0."
        )
    return tuple(found.tolist())


def _near(start, end, most, sampling):
    distances = ndimage.distance_transform_edt(~end, sampling=sampling)[start]
    # Distances are rounded: five pixels of 0.1 mm are to be within 0.5 mm.
    return int(np.count_nonzero(distances <= most * (1 + 1e-9)))
