"""Fields that hold a name which has to be known: an encoder's, a loss's, a part's."""

from collections.abc import Collection, Iterable, Mapping
from typing import Annotated, Any

import pydantic
import pydantic_core

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import did_you_mean
from keras_espmedsam.registries import Registry, losses


def one_of(registry: Registry) -> pydantic.AfterValidator:
    """Check that a name is in a registry, including names from other packages.

    Args:
        registry: a table of `keras_espmedsam.registries`.

    Example:
        >>> from keras_espmedsam.registries import image_encoders
        >>> from keras_espmedsam.training.config.settings import Settings
        >>> class Encoder(Settings):
        ...     kind: Annotated[str, one_of(image_encoders)]
        >>> Encoder(kind="tic").kind
        'tic'
    """
    return pydantic.AfterValidator(lambda name: _known_name(registry, name))


def named_loss(registry: Registry) -> pydantic.PlainValidator:
    """Check a loss: its name, or a mapping of `name` and arguments; arguments are checked later.

    Args:
        registry: a table of losses of `keras_espmedsam.registries`.

    Example:
        >>> from keras_espmedsam.training.config.settings import Settings
        >>> class Phase(Settings):
        ...     loss: Annotated[str | dict[str, Any], named_loss(losses)] = "standard"
        >>> Phase(loss={"name": "FocalLoss", "gamma": 1}).loss
        {'name': 'FocalLoss', 'gamma': 1}
    """

    def checked(value: Any) -> str | dict[str, Any]:
        arguments = dict(value) if isinstance(value, Mapping) else {"name": value}
        name = arguments.get("name")
        if not isinstance(name, str):
            raise pydantic_core.PydanticCustomError(
                "no_name", "a name, or its name and arguments: {name: NAME, ARGUMENT: VALUE}"
            )
        _known_name(registry, name)
        return name if len(arguments) == 1 else arguments

    return pydantic.PlainValidator(checked)


def _known_name(registry, name):
    known = registry.names()
    if name not in known:
        *others, last = map(repr, known)
        raise pydantic_core.PydanticCustomError(
            "unknown_name",
            "{known}{hint}",
            {
                "known": f"{', '.join(others)} or {last}" if others else last,
                "hint": did_you_mean(name, known),
            },
        )
    return name


MaskLoss = Annotated[str | dict[str, Any], named_loss(losses)]


def check_names(found: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise for unknown names.

    Raises:
        ValueError: with the known names.
    """
    for name in found:
        if name not in known:
            raise ValueError(
                f"{what} {shown(name)} is unknown{did_you_mean(name, known)} "
                f"Known: {', '.join(known)}."
            )
