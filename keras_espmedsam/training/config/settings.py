"""Configuration files: what every one of them has in common."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pydantic
import pydantic_core
import yaml

from keras_espmedsam.errors import InputError, did_you_mean


class Settings(pydantic.BaseModel):
    """Base of a configuration, or of a section of one: no unknown keys, and no change.

    Example:
        >>> class Schedule(Settings):
        ...     epochs: int = 1
        >>> load_settings(Schedule, {"epoch": 3})
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: The configuration has the unknown key epoch; did you \
mean epochs? Known keys: epochs.

    Source: ours.
    """

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, validate_default=True)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _known_keys_only(cls, data):
        # pydantic itself names the unknown key, but not those that are known.
        if not isinstance(data, Mapping):
            return data
        known = cls.known_keys(data)
        for key in data:
            if key not in known:
                raise pydantic_core.PydanticCustomError(
                    "unknown_key",
                    "{key}{hint} Known keys: {known}.",
                    {
                        "key": str(key),
                        "hint": did_you_mean(str(key), known),
                        "known": ", ".join(known),
                    },
                )
        return data

    @classmethod
    def known_keys(cls, data: Mapping[str, Any]) -> tuple[str, ...]:
        """The keys that a section may have.

        Args:
            data: the section, where they depend on what it says.
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
        overrides: changes such as `"phases.0.epochs=1"`: keys and places in lists, and a value
            in YAML; or pairs such as `("phases.0.epochs", 1)`.

    Returns:
        The settings, checked.

    Raises:
        InputError: when the file cannot be read, a key is unknown or missing, or a value is of
            the wrong kind; a sentence that names the key.

    Example:
        >>> class Schedule(Settings):
        ...     epochs: int = 1
        >>> load_settings(Schedule, {"epochs": 3}, ["epochs=4"]).epochs
        4

    Source: ours.
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
        values = _read_yaml(Path(source), name)
    for override in overrides:
        values = _overridden(values, override)
    try:
        return settings_class.model_validate(values)
    except pydantic.ValidationError as error:
        raise InputError(_sentence(name, error.errors()[0])) from error


def _read_yaml(path, name):
    try:
        values = yaml.load(path.read_text(encoding="utf-8-sig"), _Loader)
    except FileNotFoundError:
        raise InputError(f"{name} does not exist; check the path.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{name} cannot be read ({type(error).__name__}).") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "it cannot be parsed"
        raise InputError(f"{name} is not YAML{where}: {problem}.") from error
    if not isinstance(values, dict):
        raise InputError(f"{name} holds no keys; expected lines such as 'output: runs/first'.")
    return values


_MERGE = "tag:yaml.org,2002:merge"


# Not a loader of YAML 1.2, as ruamel.yaml has: `yes`, `010` and `100:45` mean other things there,
# also in the config.yaml of runs that were begun with this one.
class _Loader(yaml.SafeLoader):
    """YAML that knows 1e-3 as a number, and no key twice."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == _MERGE or not isinstance(key_node, yaml.ScalarNode):
                continue  # `<<`, which may be there twice; lists and dicts are no keys at all.
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key} is there twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    "-+0123456789",
)


def _overridden(values, override):
    if isinstance(override, tuple):
        return _with(values, override[0].split("."), override[1], override[0])
    path, equals, text = override.partition("=")
    if not equals or not path:
        raise InputError(f"Received {override!r}; expected KEY=VALUE, such as phases.0.epochs=1.")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise InputError(f"Received {override!r}, whose value is not YAML.") from error
    return _with(values, path.split("."), value, override)


def _with(values, keys, value, override):
    """A copy of nested dicts and lists with one value changed."""
    if not keys:
        return value
    key, *rest = keys
    if isinstance(values, list):
        if not key.isdecimal() or int(key) >= len(values):
            raise InputError(
                f"Received {override!r}, but there is no {key} in a list of {len(values)}; "
                f"expected a place from 0 to {len(values) - 1}."
            )
        place = int(key)
        changed = _with(values[place], rest, value, override)
        return [*values[:place], changed, *values[place + 1 :]]
    values = values if isinstance(values, dict) else {}
    return {**values, key: _with(values.get(key), rest, value, override)}


def _sentence(name, error):
    """What pydantic found, as a sentence that names the key."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] == "unknown_key":
        prefix = f"{where}." if where else ""
        return f"{name} has the unknown key {prefix}{error['msg']}"
    if error["type"] == "missing":
        return f"{name} lacks the key {where}; add it."
    message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if error["type"] == "value_error":
        return f"{name} cannot be used{f' at {where}' if where else ''}: {_ended(message)}"
    return f"{name} has {where}: {error['input']!r}; expected {_ended(message)}"


def _ended(message):
    return message if message.endswith((".", "?")) else f"{message}."
