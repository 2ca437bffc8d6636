"""Read and check configuration files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import pydantic_core

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.training.config.yaml_text import parse_yaml, read_yaml

# Of an override's keys; the deepest configuration has six.
_MOST_KEYS = 20


class Settings(pydantic.BaseModel):
    """Base of a configuration, or of a section of one: immutable, without unknown keys.

    Example:
        >>> class Schedule(Settings):
        ...     epochs: int = 1
        >>> load_settings(Schedule, {"epoch": 3})
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The configuration has the unknown key epoch; did you \
mean epochs? Known keys: epochs.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data):
        # pydantic's own message names the unknown key, but not the known ones.
        if not isinstance(data, Mapping):
            return data
        known = cls.known_keys(data)
        for key in data:
            if key not in known:
                raise pydantic_core.PydanticCustomError(
                    "unknown_key",
                    "{key}{hint} Known keys: {known}.",
                    {
                        "key": shown(key),
                        "hint": did_you_mean(str(key), known),
                        "known": ", ".join(known),
                    },
                )
        return data

    @classmethod
    def known_keys(cls, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The keys that a section may have.

        Args:
            data: the section, if the keys depend on its values.
        """
        return tuple(cls.model_fields)


AnySettings = TypeVar("AnySettings", bound=Settings)


def load_settings(
    settings_class: type[AnySettings],
    source: Any,
    overrides: Sequence[str | tuple[str, Any]] = (),
) -> AnySettings:
    """Read a configuration from a YAML file or from a dict.

    Args:
        settings_class: subclass of `Settings`.
        source: path of the file, dict, or an object of `settings_class`.
        overrides: changes such as `"phases.0.epochs=1"`: keys and list positions, and a value in
            YAML; or pairs such as `("phases.0.epochs", 1)`.

    Returns:
        The settings, checked.

    Raises:
        InputError: if the file cannot be read, a key is unknown or missing, or a value has the
            wrong type; a sentence that names the key.

    Example:
        >>> class Schedule(Settings):
        ...     epochs: int = 1
        >>> load_settings(Schedule, {"epochs": 3}, ["epochs=4"]).epochs
        4
    """
    name = "The configuration"
    if isinstance(source, settings_class) and not overrides:
        return source
    if isinstance(source, settings_class):
        values = source.model_dump(mode="json", exclude_unset=True)
    elif isinstance(source, Mapping):
        values = dict(source)
    else:
        name = f"The configuration {source}"
        values = read_yaml(Path(source), name)
        if not isinstance(values, dict):
            raise InputError(f"{name} holds no keys; expected lines such as 'output: runs/first'.")
    for override in overrides:
        values = _overridden(values, override)
    try:
        return settings_class.model_validate(values)
    except pydantic.ValidationError as error:
        raise InputError(_sentence(name, error.errors()[0])) from error


def _overridden(values, override):
    if isinstance(override, tuple):
        return _with(values, override[0].split("."), override[1], override[0])
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InputError(
            f"Received {shown_value(override)}; expected KEY=VALUE, such as phases.0.epochs=1."
        )
    value = parse_yaml(text, f"Received {shown_value(override)}, whose value")
    return _with(values, path.split("."), value, override)


def _with(values, keys, value, override):
    """Return a copy of nested dicts and lists with one value changed."""
    if not keys:
        return value
    if len(keys) > _MOST_KEYS:
        raise InputError(f"Received {shown_value(override)}; no setting is nested so deeply.")
    key, *rest = keys
    if isinstance(values, list):
        if not key.isdecimal() or len(key) > 9 or int(key) >= len(values):
            raise InputError(
                f"Received {shown_value(override)}, but there is no {shown(key)} in a list "
                f"of {len(values)}; expected a position from 0 to {len(values) - 1}."
            )
        place = int(key)
        changed = _with(values[place], rest, value, override)
        return [*values[:place], changed, *values[place + 1 :]]
    values = values if isinstance(values, dict) else {}
    return {**values, key: _with(values.get(key), rest, value, override)}


def _sentence(name, error):
    """Turn pydantic's error into a sentence that names the key."""
    where = shown(".".join(str(part) for part in error["loc"]), 200)
    if error["type"] == "unknown_key":
        prefix = f"{where}." if where else ""
        return f"{name} has the unknown key {prefix}{error['msg']}"
    if error["type"] == "missing":
        return f"{name} lacks the key {where}; add it."
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "value_error":
        return f"{name} cannot be used{f' at {where}' if where else ''}: {_ended(message)}"
    message = message[:1].lower() + message[1:] if message.startswith("Input ") else message
    return f"{name} has {where}: {shown_value(error['input'])}; expected {_ended(message)}"


def _ended(message):
    return message if message.endswith((".", "?")) else f"{message}."
