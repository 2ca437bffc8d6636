"""Which targets of a modality are returned, and which others decide about their pixels."""

import dataclasses
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError, did_you_mean

DEFAULT_THRESHOLD = 0.5

Threshold = float | Mapping[str, float]
"""One threshold for all targets, or a dict of target to threshold."""


@dataclasses.dataclass(frozen=True)
class ChosenTargets:
    """The targets of one modality that are returned, and what decides about their pixels.

    Args:
        names: the targets that are returned, in this order.
        helpers: other targets of the modality without which a pixel cannot be decided: those that
            exclude or contain one of them.
        channels: dict of channel name to its number, of names, helpers and hidden channels.
        groups: groups of names and helpers that never overlap.
        nested: pairs of an inner target and the one that contains it, outer ones first.
        hidden: dict of a name or helper to the hidden channel that tells its objects apart.
        kinds: dict of a name or helper to how its objects are told apart; see `Targets`.

    Example:
        >>> targets = kem.data.Targets(
        ...     {"fundus": ("vessels", "disc", "cup")}, nested={"fundus": {"cup": "disc"}})
        >>> chosen = choose_targets(targets, "fundus", ["cup"])
        >>> chosen.names, chosen.helpers, chosen.channels
        (('cup',), ('disc',), {'cup': 2, 'disc': 1})
    """

    names: tuple[str, ...]
    helpers: tuple[str, ...]
    channels: dict[str, int]
    groups: tuple[tuple[str, ...], ...]
    nested: tuple[tuple[str, str], ...]
    hidden: dict[str, str]
    kinds: dict[str, str]


def target_set_of(model: Any) -> Targets:
    """Return a model's targets: its `target_set`, or one unnamed target for each modality.

    Args:
        model: a segmenter, or any object with `modalities`.

    Example:
        >>> import types
        >>> target_set_of(types.SimpleNamespace(modalities=("xray",))).names
        {'xray': ('mask',)}
    """
    found = getattr(model, "target_set", None)
    return found if isinstance(found, Targets) else Targets.of_modalities(tuple(model.modalities))


def checked_targets(targets: Any, target_set: Targets) -> tuple[str, ...] | None:
    """Return the names of the wanted targets, each once, or `None` for all.

    Args:
        targets: a name, a list of names, or `None`.
        target_set: the model's targets.

    Raises:
        InputError: for a name that is a target of none of the modalities, or an empty list.

    Example:
        >>> checked_targets("heart", kem.data.Targets({"xray": ("lungs", "heart")}))
        ('heart',)
    """
    if targets is None:
        return None
    several = isinstance(targets, Iterable) and not isinstance(targets, str | bytes | Mapping)
    given = list(targets) if several else [targets]
    named = tuple(dict.fromkeys(given)) if all(isinstance(one, str) for one in given) else ()
    if not named:
        raise InputError(
            f"Received the targets {shown_value(given if several else targets)}; expected one or "
            f"more names, or nothing for all: {described(target_set)}."
        )
    known = _all_names(target_set)
    for name in named:
        if name not in known:
            raise InputError(
                f"Received the target {shown_value(name)}{did_you_mean(name, known)} The model's "
                f"targets are {described(target_set)}."
            )
    return named


def check_used(
    targets: Sequence[str] | None, target_set: Targets, modalities: Iterable[str]
) -> None:
    """Check that each wanted target belongs to one of some modalities.

    Args:
        targets: from `checked_targets`.
        target_set: the model's targets.
        modalities: names of the modalities.

    Raises:
        InputError: for a target that belongs to other modalities only.
    """
    modalities = tuple(dict.fromkeys(modalities))
    for name in targets or () if modalities else ():
        if not any(name in target_set.of(modality) for modality in modalities):
            raise InputError(_of_another(name, target_set, modalities))


def choose_targets(
    target_set: Targets, modality: str, targets: Sequence[str] | None = None
) -> ChosenTargets:
    """Return the wanted targets that a modality has, and what decides about their pixels.

    Args:
        target_set: the model's targets.
        modality: its name.
        targets: from `checked_targets`: names, also of other modalities', or `None` for all.

    Raises:
        InputError: when the modality has none of them.
    """
    own = target_set.of(modality)
    names = own if targets is None else tuple(name for name in targets if name in own)
    if not names:
        assert targets  # Every modality has a target.
        raise InputError(_of_another(targets[0], target_set, (modality,)))
    groups = target_set.exclusive.get(modality, ())
    outer = dict(target_set.nested.get(modality, {}))
    needed = dict.fromkeys(names)
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        others = [one for group in groups if name in group for one in group]
        others += [outer[name]] if name in outer else []
        waiting += [one for one in others if one not in needed]
        needed |= dict.fromkeys(others)
    kinds = dict(target_set.instances.get(modality, {}))
    hidden = {name: channel for name, channel in target_set.hidden(modality) if name in needed}
    channels = target_set.channels(modality)
    return ChosenTargets(
        names,
        tuple(name for name in needed if name not in names),
        {name: channels.index(name) for name in (*needed, *hidden.values())},
        tuple(tuple(group) for group in groups if group[0] in needed),
        tuple(sorted(((i, o) for i, o in outer.items() if i in needed), key=_depth(outer))),
        hidden,
        {name: kind for name, kind in kinds.items() if name in needed},
    )


def thresholds_of(threshold: Any, target_set: Targets) -> dict[str, float]:
    """Return the threshold of each target of a model.

    Args:
        threshold: a number from 0 to 1 for all, or a dict of target to number; targets that are
            not in it have 0.5.
        target_set: the model's targets.

    Raises:
        InputError: for other values, and for a name that is no target.

    Example:
        >>> thresholds_of({"heart": 0.3}, kem.data.Targets({"xray": ("lungs", "heart")}))
        {'lungs': 0.5, 'heart': 0.3}
    """
    names = _all_names(target_set)
    if not isinstance(threshold, Mapping):
        check_threshold(threshold)
        return dict.fromkeys(names, threshold)
    for name, value in threshold.items():
        if name not in names:
            raise InputError(
                f"Received a threshold of {shown_value(name)}{did_you_mean(str(name), names)} The "
                f"model's targets are {described(target_set)}."
            )
        check_threshold(value, f" of {name}")
    return {name: threshold.get(name, DEFAULT_THRESHOLD) for name in names}


def check_threshold(threshold: Any, of: str = "") -> None:
    """Check that a threshold is a number from 0 to 1.

    Args:
        threshold: anything.
        of: the target that it is of, for the message.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(threshold, numbers.Real) or not 0 <= float(threshold) <= 1:
        raise InputError(
            f"Received threshold={shown_value(threshold)}{of}; expected a number from 0 to 1."
        )


def described(target_set: Targets) -> str:
    """Return the targets of each modality in words.

    Example:
        >>> described(kem.data.Targets({"xray": ("lungs", "heart"), "fundus": ("vessels",)}))
        'lungs, heart (xray); vessels (fundus)'
    """
    by_names: dict[tuple[str, ...], list[str]] = {}
    for modality, names in target_set.names.items():
        by_names.setdefault(tuple(names), []).append(modality)
    return "; ".join(
        f"{', '.join(names)} ({', '.join(modalities)})" for names, modalities in by_names.items()
    )


def _all_names(target_set):
    return tuple(dict.fromkeys(name for names in target_set.names.values() for name in names))


def _of_another(name, target_set, modalities):
    own = "; ".join(f"{', '.join(target_set.of(one))} ({one})" for one in modalities)
    others = [other for other, its in target_set.names.items() if name in its]
    return (
        f"Received the target {shown_value(name)}, which belongs to {', '.join(others)}; expected "
        f"one of {own}."
    )


def _depth(outer):
    """Return a function that says how many targets contain the inner one of a pair."""

    def depth(pair):
        count, name = 0, pair[0]
        while name in outer:
            count, name = count + 1, outer[name]
        return count

    return depth
