"""Calibrated probabilities, as a property of a preset: a temperature and a bias of the logits."""

import numbers
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.options_by_target import options_by_target

if TYPE_CHECKING:
    from keras_espmedsam.data.targets import Targets

OPTIONS: dict[str, float] = {"temperature": 1.0, "bias": 0.0}
"""The options of `calibrated`, and their defaults, which change nothing."""

# Probabilities are float32: those closer to 0 or 1 cannot be told from them.
_SMALLEST = 1e-7
_BELOW_HALF = np.nextafter(np.float32(0.5), np.float32(0))
# Beyond these a probability would be 0 or 1 whatever the image shows.
_LARGEST = {"temperature": 100.0, "bias": 20.0}
_EXAMPLE = '{"xray": {"lungs": {"temperature": 1.5}}}'


def calibrated(
    probabilities: np.ndarray, temperature: float = 1.0, bias: float = 0.0
) -> np.ndarray:
    """Calibrate probabilities: divide their logits by a temperature, and add a bias.

    The order of the pixels stays. Without a bias, 0.5 stays 0.5, so that a mask at this threshold
    is the same, bit for bit.

    Args:
        probabilities: any shape, in [0, 1].
        temperature: above 0; above 1 makes the probabilities less extreme.
        bias: added to the logits after the division.

    Returns:
        float32, of the same shape; the same array if nothing changes.

    Example:
        >>> calibrated(np.float32([0.1, 0.5, 0.9]), temperature=2).round(3).tolist()
        [0.25, 0.5, 0.75]

    Source: Guo et al. (arXiv 1706.04599), section 4.2, for the temperature; Platt (1999),
        Probabilistic outputs for support vector machines, for both.
    """
    if temperature == 1 and bias == 0:
        return probabilities
    p = np.clip(np.asarray(probabilities, np.float64), _SMALLEST, 1 - _SMALLEST)
    logits = (np.log(p) - np.log1p(-p)) / temperature + bias
    found = np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)
    if bias == 0:  # Rounding may carry a probability to 0.5 that was just below.
        np.minimum(found, _BELOW_HALF, out=found, where=p < 0.5)
    return found


def checked_calibration(given: Any, targets: "Targets") -> dict[str, dict[str, dict[str, float]]]:
    """Check the calibration of a model's probabilities.

    Args:
        given: dict of modality to dict of target to arguments of `calibrated`: `temperature` and
            `bias`. None for none.
        targets: the model's.

    Returns:
        The same as plain data, without options that have their default.

    Raises:
        InputError: for an unknown modality, target or option, or an option's wrong value.

    Example:
        >>> targets = kem.data.Targets({"xray": ("lungs", "heart")})
        >>> checked_calibration({"xray": {"heart": {"temperature": 1.5, "bias": 0}}}, targets)
        {'xray': {'heart': {'temperature': 1.5}}}
    """
    return options_by_target(given, targets, "probability_calibration", _options, _EXAMPLE)


def _options(given, where):
    if not isinstance(given, Mapping):
        raise InputError(
            f"Received {shown_value(given)} as the {where}; expected a dict of options, such as "
            '{"temperature": 1.5}.'
        )
    own = {}
    for name, value in given.items():
        if name not in OPTIONS:
            raise InputError(
                f"Received {shown_value(name)} in the {where}{did_you_mean(str(name), OPTIONS)} "
                f"The options are {', '.join(OPTIONS)}."
            )
        largest = _LARGEST[name]
        least = 1 / largest if name == "temperature" else -largest
        number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if not number or not least <= float(value) <= largest:
            raise InputError(
                f"Received {name}={shown_value(value)} in the {where}; expected a number from "
                f"{least:g} to {largest:g}."
            )
        if value != OPTIONS[name]:
            own[name] = float(value)
    return own
