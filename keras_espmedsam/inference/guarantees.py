"""Guarantees of a preset's masks: a threshold for each modality and target, and what it holds."""

import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.options_by_target import options_by_target
from keras_espmedsam.inference.chosen_targets import (
    DEFAULT_THRESHOLD,
    choose_targets,
    target_set_of,
)

GUARANTEES = ("recall", "false_discovery_rate", "dice")
"""What can be guaranteed."""

Guarantees = dict[str, dict[str, dict[str, dict[str, Any]]]]
"""Modality, target, and one of `GUARANTEES`, to the guarantee; see `checked_guarantees`."""

_EXAMPLE = '{"xray": {"lungs": {"recall": {"level": 0.9, "threshold": 0.2, "num_images": 40}}}}'
_NEEDED = ("level", "threshold", "num_images")
_FIELDS = (*_NEEDED, "datasets", "confidence")
_CALIBRATE = (
    "make them with segmenter.calibrate(...) or espmedsam calibrate, on labelled images of the "
    "place where the preset is used"
)


def checked_guarantees(given: Any, targets: Targets) -> Guarantees:
    """Check the guarantees of a model.

    Args:
        given: dict of modality to dict of target to dict of `"recall"`, `"false_discovery_rate"`
            or `"dice"` to a dict of `level` (what is guaranteed), `threshold` (of the
            probabilities before calibration), `num_images` and `datasets` (on what it was
            chosen), and for the last two `confidence`. None for none.
        targets: the model's.

    Returns:
        The same as plain data.

    Raises:
        InputError: for an unknown modality, target or guarantee, and for fields that are missing,
            unknown or out of range.

    Example:
        >>> targets = Targets({"xray": ("lungs",)})
        >>> guarantee = {"level": 0.9, "threshold": 0.2, "num_images": 40, "datasets": ["jsrt"]}
        >>> found = checked_guarantees({"xray": {"lungs": {"recall": guarantee}}}, targets)
        >>> found["xray"]["lungs"]["recall"] == guarantee
        True
    """
    return options_by_target(given, targets, "guarantees", _of_target, _EXAMPLE)


def guaranteed_thresholds(
    model: Any, guarantee: str, modality: str, names: Iterable[str]
) -> dict[str, float]:
    """Return the threshold of each target for a guarantee, of probabilities before calibration.

    Args:
        model: a segmenter; one without `guarantees` has none.
        guarantee: one of `GUARANTEES`.
        modality: its name.
        names: the targets that are returned.

    Returns:
        dict of target to float.

    Raises:
        InputError: for a guarantee that is unknown, or that the model does not have for a target.
    """
    check_guarantee(guarantee)
    held = (getattr(model, "guarantees", None) or {}).get(modality, {})
    missing = [name for name in names if guarantee not in held.get(name, {})]
    if missing:
        raise InputError(
            f"Received guarantee={guarantee!r}, which this model does not have for "
            f"{', '.join(missing)} of {modality}; it has "
            f"{_shown_guarantees(held) or 'none for this modality'}. "
            f"Choose targets that have it, or {_CALIBRATE}."
        )
    return {name: held[name][guarantee]["threshold"] for name in names}


def check_guaranteed(
    model: Any, guarantee: str | None, modalities: Iterable[str], wanted: Sequence[str] | None
) -> None:
    """Check that a model has a guarantee for all targets that are returned.

    Args:
        model, guarantee: see `guaranteed_thresholds`; None for no guarantee.
        modalities: names of the images' modalities.
        wanted: from `checked_targets`.

    Raises:
        InputError: if it does not.
    """
    if guarantee is None:
        return
    target_set = target_set_of(model)
    for modality in dict.fromkeys(modalities):
        names = choose_targets(target_set, modality, wanted).names
        guaranteed_thresholds(model, guarantee, modality, names)


def _shown_guarantees(held):
    """Return the guarantees of a modality's targets in words."""
    return ", ".join(f"{' and '.join(one)} for {target}" for target, one in held.items() if one)


def check_guarantee(
    guarantee: Any,
    mirror: bool = False,
    scaled: bool = False,
    thresholds: Mapping[str, float] | None = None,
) -> None:
    """Check the name of a guarantee, and that it is not asked for averaged probabilities.

    Args:
        guarantee: anything; None for no guarantee.
        mirror: whether probabilities are averaged with those of the mirrored image.
        scaled: whether they are those of other image sizes than the model's.
        thresholds: from `thresholds_of`.

    Raises:
        InputError: if it is none of `GUARANTEES`, and with `mirror`, `scaled` or a threshold of
            another value than 0.5.
    """
    if guarantee is None:
        return
    if not isinstance(guarantee, str) or guarantee not in GUARANTEES:
        raise InputError(
            f"Received guarantee={shown_value(guarantee)}"
            f"{did_you_mean(str(guarantee), GUARANTEES)} Expected one of {', '.join(GUARANTEES)}."
        )
    if mirror or scaled:
        raise InputError(
            f"Received guarantee with {'mirror=True' if mirror else 'scales'}; what is guaranteed "
            "was measured without it, so leave one of them out."
        )
    others = [value for value in (thresholds or {}).values() if value != DEFAULT_THRESHOLD]
    if others:
        raise InputError(
            f"Received guarantee with threshold {others[0]:g}; a guarantee holds for thresholds of "
            "its own, so leave one of them out."
        )


def _of_target(given, where):
    found = {}
    for name, one in _mapping(given, where).items():
        if name not in GUARANTEES:
            raise InputError(
                f"Received {shown_value(name)} in the {where}{did_you_mean(str(name), GUARANTEES)} "
                f"Expected {', '.join(GUARANTEES)}."
            )
        found[name] = _fields(one, f"{where}, {name}")
    return found


def _fields(given, where):
    given = _mapping(given, where)
    wrong = [name for name in _NEEDED if name not in given]
    wrong += [name for name in given if name not in _FIELDS]
    if wrong:
        raise InputError(
            f"The {where}, {'lack' if wrong[0] in _NEEDED else 'have'} {shown_value(wrong[0])}; "
            f"expected {', '.join(_FIELDS)}."
        )
    found: dict[str, Any] = {}
    for name in ("level", "threshold", "confidence"):
        if name in given:
            value = given[name]
            number = isinstance(value, numbers.Real) and not isinstance(value, bool)
            if not number or not 0 <= float(value) <= 1:
                raise InputError(
                    f"Received {name}={shown_value(value)} in the {where}; expected a number from "
                    "0 to 1."
                )
            found[name] = float(value)
    count = given["num_images"]
    whole = isinstance(count, int) and not isinstance(count, bool)
    if not whole or count < 1:
        raise InputError(
            f"Received num_images={shown_value(count)} in the {where}; expected a number of images."
        )
    datasets = given.get("datasets", ())
    listed = isinstance(datasets, list | tuple)
    if not listed or not all(isinstance(one, str) for one in datasets):
        raise InputError(
            f"Received datasets={shown_value(datasets)} in the {where}; expected a list of names."
        )
    return found | {"num_images": int(count), "datasets": list(datasets)}


def _mapping(given, where):
    if not isinstance(given, Mapping):
        raise InputError(
            f"Received {shown_value(given)} as the {where}; expected a dict, as in {_EXAMPLE}."
        )
    return given
