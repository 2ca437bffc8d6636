"""Check a dict of modality to dict of target to options, as presets hold them."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError

if TYPE_CHECKING:
    from keras_espmedsam.data.targets import Targets


def options_by_target(
    given: Any,
    targets: "Targets",
    name: str,
    check: Callable[[Any, str], dict[str, Any]],
    example: str,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Check the options of each target, and return those that change something.

    Args:
        given: dict of modality to dict of target to options. None for none.
        targets: the model's. An empty name stands for a modality's first target.
        name: what the options are, for messages.
        check: takes the options of one target, and what they are in words; returns those that
            differ from their defaults, or raises `InputError`.
        example: a dict that would be right, for messages.

    Raises:
        InputError: for an unknown modality or target, or what `check` refuses.

    Example:
        >>> targets = kem.data.Targets({"xray": ("lungs", "heart")})
        >>> options_by_target({"xray": {"": {"a": 1}}}, targets, "options", lambda o, _: o, "{}")
        {'xray': {'lungs': {'a': 1}}}
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for modality, of_modality in _mapping(given, "modality", name, example).items():
        targets.of(modality)
        where = f"{name} of {modality}"
        for target, options in _mapping(of_modality, "target", where, example).items():
            if not isinstance(target, str):
                raise InputError(
                    f"Received the target {shown_value(target)} in the {where}; expected one of "
                    f"{', '.join(targets.of(modality))}."
                )
            target = targets.of(modality)[targets.index(modality, target)]
            own = check(options, f"{where}'s {target}")
            if own:
                found.setdefault(modality, {})[target] = own
    return found


def _mapping(given, key, where, example):
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(
            f"Received {shown_value(given)} as the {where}; expected a dict with a {key} as each "
            f"key, such as {example}."
        )
    return given
