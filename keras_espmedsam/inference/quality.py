"""The predicted quality of masks, as a property of a preset and of its results."""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.mask_statistic_names import STATISTICS
from keras_espmedsam.imaging.options_by_target import options_by_target

COEFFICIENTS = ("offset", *STATISTICS)
"""The coefficients of each target, in the order in which `MaskQuality` takes them."""

Quality = dict[str, dict[str, dict[str, float]]]
"""dict of modality to dict of target to its coefficients."""


def checked_quality(given: Any, targets: Targets) -> Quality:
    """Check the coefficients from which a model predicts the Dice of its masks.

    Args:
        given: dict of modality to dict of target to a dict with a number for each of
            `COEFFICIENTS`; None for none.
        targets: the model's.

    Returns:
        The same as plain data.

    Raises:
        InputError: for an unknown modality or target, and for missing or wrong coefficients.

    Example:
        >>> targets = kem.data.Targets({"xray": ("lungs", "heart")})
        >>> numbers = dict.fromkeys(COEFFICIENTS, 0.5)
        >>> list(checked_quality({"xray": {"heart": numbers}}, targets)["xray"])
        ['heart']
    """
    example = '{"xray": {"lungs": {' + ", ".join(f'"{name}": 0.1' for name in COEFFICIENTS) + "}}}"
    return options_by_target(given, targets, "quality", _coefficients, example)


def _coefficients(given, where):
    if not isinstance(given, Mapping) or set(given) != set(COEFFICIENTS):
        raise InputError(
            f"Received {shown_value(given)} as the {where}; expected a dict of "
            f"{', '.join(COEFFICIENTS)}. fit_quality makes it."
        )
    for name in COEFFICIENTS:
        value = given[name]
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not math.isfinite(value):
            raise InputError(
                f"Received {shown_value(value)} as {name} in the {where}; expected a number. "
                "fit_quality makes it."
            )
    return {name: float(given[name]) for name in COEFFICIENTS}


def coefficients_by_channel(quality: Quality, targets: Targets) -> tuple:
    """Return the coefficients as the layer `MaskQuality` takes them.

    Example:
        >>> targets = kem.data.Targets({"xray": ("lungs", "heart")})
        >>> quality = {"xray": {"heart": dict.fromkeys(COEFFICIENTS, 0.5)}}
        >>> coefficients_by_channel(quality, targets)
        (((), (0.5, 0.5, 0.5, 0.5, 0.5, 0.5)),)
    """
    rows = []
    for modality in targets.modalities:
        names = targets.of(modality)
        own = [quality.get(modality, {}).get(name, {}) for name in names]
        own += [{}] * (targets.num_channels - len(names))
        rows.append(tuple(tuple(one[key] for key in COEFFICIENTS if one) for one in own))
    return tuple(rows)


def predicted_quality(
    quality: Mapping[str, Any], targets: Targets, modality: str, values: np.ndarray
) -> dict[str, float]:
    """Name the predictions for one image.

    Args:
        quality: the model's coefficients; only their modalities and targets are read.
        targets: the model's.
        modality: the image's.
        values: the predictions, `(channels,)`.

    Returns:
        dict of target to the predicted Dice, for the targets that have one.

    Example:
        >>> targets = kem.data.Targets({"xray": ("lungs", "heart")})
        >>> quality = {"xray": {"heart": {}}}
        >>> predicted_quality(quality, targets, "xray", np.array([0, 0.5]))
        {'heart': 0.5}
    """
    own = quality.get(modality, ())
    return {
        name: float(value)
        for name, value in zip(targets.of(modality), values, strict=False)
        if name in own
    }


def check_min_quality(value: Any) -> None:
    """Check the least predicted quality that is accepted.

    Raises:
        InputError: for anything but a number from 0 to 1.

    Example:
        >>> check_min_quality(0.8)
    """
    if not isinstance(value, numbers.Real) or not 0 <= float(value) <= 1:
        raise InputError(
            f"Received min_quality={shown_value(value)}; expected a number from 0 to 1, the Dice "
            "that a mask is predicted to have."
        )
