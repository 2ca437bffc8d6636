"""Types of single fields that several sections share: numbers with bounds, paths and lists."""

import os
from pathlib import Path
from typing import Annotated, Any

import pydantic

from keras_espmedsam.data.label_table import labels_text, parse_labels
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import versioned_name
from keras_espmedsam.imaging.intensity import parse_intensity

# Largest size that systems, TensorFlow and Keras can count with.
Count = Annotated[int, pydantic.Field(strict=True, ge=1, le=2**31 - 1)]
# NaN compares as neither above nor below anything, and .inf is not a rate.
Positive = Annotated[float, pydantic.Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, pydantic.Field(ge=0, allow_inf_nan=False)]
Fraction = Annotated[float, pydantic.Field(gt=0, lt=1, allow_inf_nan=False)]
# Threads, processes or devices of one machine.
Parallel = Annotated[int, pydantic.Field(strict=True, ge=1, le=1024)]
# Pixels per side.
Side = Annotated[int, pydantic.Field(strict=True, ge=1, le=65_536)]
# (height, width), or one number for both.
Size = Annotated[
    tuple[Side, Side],
    pydantic.BeforeValidator(lambda size: (size, size) if isinstance(size, int) else size),
]


def _existing(path: Path) -> Path:
    path = Path(os.path.expandvars(path)).expanduser()
    if "$" in str(path):
        raise ValueError(f"{path} names an environment variable that is not set.")
    # Unlike pathlib's, this takes a name of any length and with any character.
    if not os.path.exists(path):
        raise ValueError(f"{path} does not exist; paths are relative to where the command is run.")
    return path


Existing = Annotated[Path, pydantic.AfterValidator(_existing)]
# With its version, so that a run's record states it, and a run that is resumed keeps it.
PresetName = Annotated[str, pydantic.AfterValidator(versioned_name)]


def _intensity(value):
    if isinstance(value, int | float):  # YAML reads 100:45 as minutes and seconds.
        raise ValueError("write black and white as a list, [0, 4095], or as '0:4095' in quotes.")
    try:
        return parse_intensity(value)
    except InputError as error:
        raise ValueError(str(error)) from error


# Checked once, so that a pair stays a pair.
Intensity = Annotated[str | tuple[float, float] | None, pydantic.BeforeValidator(_intensity)]


def _labels(value):
    try:
        return None if value is None else labels_text(parse_labels(value))
    except InputError as error:
        raise ValueError(str(error)) from error


# One text for a table and its text, so that a run that is resumed has the same.
Labels = Annotated[str | None, pydantic.BeforeValidator(_labels)]


def listed(value: Any) -> Any:
    """Return a list also for a single item: a text or a mapping.

    Args:
        value: what a key of a configuration was given.

    Example:
        >>> listed("vessels")
        ['vessels']
    """
    return [value] if isinstance(value, str) or hasattr(value, "items") else value


Names = Annotated[list[str], pydantic.BeforeValidator(listed)]
