"""The targets of each modality: what a model draws in an image of it."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean

UNNAMED = "mask"
"""The name of a modality's only target if it was given none."""
BACKGROUND = "background"
"""What a value of a label image is called that stands for no target."""
UNLABELLED = -1.0
"""The value of a training mask's pixels where nobody has labelled the target: unknown."""
INSTANCE_KINDS = ("boundary", "core", "components")
"""How the objects of a mask are told apart; see `Targets`."""
DEFAULT_INSTANCE_KIND = "core"
"""How they are if nobody says: a core is learnt soonest, because it looks like its object."""

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_MOST = 255  # With the background, they fit the 8 bits of a label image.


@dataclasses.dataclass(frozen=True)
class Targets:
    """The targets of a model, modality by modality.

    A channel is one mask that the model predicts. The channels of a modality are its targets and,
    after them, a hidden one for each target whose instances are told apart by a map of their
    boundaries or cores. Hidden channels are trained and used, but never shown.

    Args:
        names: dict of modality to tuple of target names, for every modality of the model and in
            its order.
        exclusive: dict of modality to groups of targets that never overlap, such as arteries and
            veins: their probabilities and that of the background add up to 1.
        nested: dict of modality to dict of an inner target to the outer one that contains it,
            such as cup to disc: the inner one is never more probable.
        instances: dict of modality to dict of target to how its objects are told apart:
            `"boundary"` (a hidden map of their edges), `"core"` (a hidden map of their inner
            halves) or `"components"` (connected components of the mask, nothing hidden).

    Raises:
        InputError: for names that are missing, repeated or not allowed, and for groups, pairs and
            instances of targets that the modality does not have.

    Example:
        >>> targets = Targets(
        ...     {"fundus": ("vessels", "optic_disc", "optic_cup"), "microscopy": ("nuclei",)},
        ...     nested={"fundus": {"optic_cup": "optic_disc"}},
        ...     instances={"microscopy": {"nuclei": "boundary"}})
        >>> targets.num_channels, targets.channels("microscopy")
        (3, ('nuclei', 'nuclei:boundary'))
    """

    names: Mapping[str, Sequence[str]]
    exclusive: Mapping[str, Sequence[Sequence[str]]] = dataclasses.field(default_factory=dict)
    nested: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
    instances: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)

    def __post_init__(self):
        def put(name, value):
            object.__setattr__(self, name, value)

        put("names", _checked_names(self.names))
        put("exclusive", self._checked("exclusive", self.exclusive, _groups))
        put("nested", self._checked("nested", self.nested, _pairs))
        _check_together(self.exclusive, self.nested)
        put("instances", self._checked("instances", self.instances, _kinds))

    @classmethod
    def of_modalities(
        cls,
        modalities: Sequence[str],
        targets: Mapping[str, Sequence[str] | str] | None = None,
        exclusive: Mapping[str, Sequence[Sequence[str]]] | None = None,
        nested: Mapping[str, Mapping[str, str]] | None = None,
        instances: Mapping[str, Mapping[str, str] | Sequence[str]] | None = None,
    ) -> "Targets":
        """Return the targets of a model, with one unnamed target for a modality without any.

        Args:
            modalities: names, in the model's order.
            targets: dict of modality to its targets' names, or to one name.
            exclusive, nested, instances: see `Targets`; instances may also be a list of names,
                which are told apart by their cores.

        Raises:
            InputError: see `Targets`; also for a modality that the model does not have.

        Example:
            >>> Targets.of_modalities(("xray", "fundus"), {"fundus": "vessels"}).names
            {'xray': ('mask',), 'fundus': ('vessels',)}
        """
        given = _mapping("targets", targets)
        for modality in given:
            if modality not in modalities:
                raise InputError(
                    f"Received targets of the modality {shown_value(modality)}"
                    f"{did_you_mean(str(modality), tuple(modalities))} The model's modalities are "
                    f"{', '.join(modalities)}."
                )
        names = {
            modality: (given[modality],)
            if isinstance(given.get(modality), str)
            else given.get(modality, (UNNAMED,))
            for modality in modalities
        }
        kinds = {
            modality: one
            if isinstance(one, Mapping)
            else dict.fromkeys(_list(one), DEFAULT_INSTANCE_KIND)
            for modality, one in _mapping("instances", instances).items()
        }
        return cls(names, exclusive or {}, nested or {}, kinds)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The modalities, in the model's order."""
        return tuple(self.names)

    @property
    def num_channels(self) -> int:
        """The largest number of channels of a modality: the channels of the model's masks."""
        return max(len(self.channels(modality)) for modality in self.names)

    @property
    def is_default(self) -> bool:
        """Whether each modality has one unnamed target and nothing else is declared."""
        plain = all(names == (UNNAMED,) for names in self.names.values())
        return plain and not (self.exclusive or self.nested or self.instances)

    def channels(self, modality: str) -> tuple[str, ...]:
        """Return the names of a modality's channels: its targets, then the hidden ones.

        Example:
            >>> Targets({"xray": ("lungs", "heart")}).channels("xray")
            ('lungs', 'heart')
        """
        names = self.of(modality)
        return (*names, *(hidden for _, hidden in self.hidden(modality)))

    def hidden(self, modality: str) -> tuple[tuple[str, str], ...]:
        """Return pairs of a target and the name of its hidden channel, in the channels' order.

        Example:
            >>> targets = Targets({"slide": ("nuclei",)}, instances={"slide": {"nuclei": "core"}})
            >>> targets.hidden("slide")
            (('nuclei', 'nuclei:core'),)
        """
        kinds = self.instances.get(modality, {})
        return tuple(
            (name, f"{name}:{kinds[name]}")
            for name in self.of(modality)
            if kinds.get(name, "components") != "components"
        )

    def of(self, modality: str) -> tuple[str, ...]:
        """Return the names of a modality's targets.

        Raises:
            InputError: for an unknown modality.
        """
        if modality not in self.names:
            raise InputError(
                f"Received the modality {shown_value(modality)}"
                f"{did_you_mean(str(modality), tuple(self.names))} "
                f"The model's modalities are {', '.join(self.names)}."
            )
        return tuple(self.names[modality])

    def index(self, modality: str, target: str) -> int:
        """Return a target's channel.

        An empty `target` is the modality's first. Any name fits a modality with one unnamed
        target.

        Raises:
            InputError: for a target that the modality does not have.

        Example:
            >>> Targets({"xray": ("lungs", "heart")}).index("xray", "heart")
            1
        """
        names = self.of(modality)
        if not target or names == (UNNAMED,):
            return 0
        if target not in names:
            others = [other for other, its in self.names.items() if target in its]
            elsewhere = f" It is a target of {', '.join(others)}." if others else ""
            raise InputError(
                f"Received the target {shown_value(target)} of {modality}"
                f"{did_you_mean(target, names)} The model's targets of {modality} are "
                f"{', '.join(names)}.{elsewhere}"
            )
        return names.index(target)

    def config(self) -> dict:
        """Return the arguments of `of_modalities` that differ from the default, as plain data.

        Example:
            >>> Targets({"xray": ("lungs", "heart")}).config()
            {'targets': {'xray': ['lungs', 'heart']}}
        """
        parts = {
            "targets": {
                modality: list(names)
                for modality, names in self.names.items()
                if names != (UNNAMED,)
            },
            "exclusive": {
                modality: [list(group) for group in groups]
                for modality, groups in self.exclusive.items()
            },
            "nested": {modality: dict(pairs) for modality, pairs in self.nested.items()},
            "instances": {modality: dict(kinds) for modality, kinds in self.instances.items()},
        }
        return {name: part for name, part in parts.items() if part}

    def only(self, modality: str) -> "Targets":
        """Return the targets of a model of one of the modalities."""
        self.of(modality)

        def own(part: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in part.items() if name == modality}

        return Targets(own(self.names), own(self.exclusive), own(self.nested), own(self.instances))

    def group_numbers(self) -> tuple[tuple[int, ...], ...]:
        """Return each channel's exclusive group, from 1, or 0; a row per modality.

        Without any group, there are no rows.

        Example:
            >>> Targets({"eye": ("a", "v", "disc")}, {"eye": [("a", "v")]}).group_numbers()
            ((1, 1, 0),)
            >>> Targets({"eye": ("a", "v", "disc")}).group_numbers()
            ()
        """
        if not self.exclusive:
            return ()
        rows = []
        for modality in self.names:
            row = [0] * self.num_channels
            for number, group in enumerate(self.exclusive.get(modality, ()), start=1):
                for name in group:
                    row[self.names[modality].index(name)] = number
            rows.append(tuple(row))
        return tuple(rows)

    def outer_channels(self) -> tuple[tuple[int, ...], ...]:
        """Return the channel that contains each channel, or -1; a row per modality.

        Without any target inside of another one, there are no rows.

        Example:
            >>> Targets({"eye": ("disc", "cup")}, nested={"eye": {"cup": "disc"}}).outer_channels()
            ((-1, 0),)
        """
        if not self.nested:
            return ()
        rows = []
        for modality, names in self.names.items():
            row = [-1] * self.num_channels
            for inner, outer in self.nested.get(modality, {}).items():
                row[names.index(inner)] = names.index(outer)
            rows.append(tuple(row))
        return tuple(rows)

    def _checked(self, what, given, check):
        found = {}
        for modality, value in _mapping(what, given).items():
            names = self.of(modality)
            value = check(modality, value, names)
            if value:
                found[modality] = value
        return found


def _list(value):
    return list(value) if isinstance(value, list | tuple) else [value]


def _mapping(what, given):
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(
            f"Received {what}={shown_value(given)}; expected a dict with a modality as each key, "
            'such as {"fundus": ...}.'
        )
    return given


def _checked_names(names):
    given = _mapping("targets", names)
    if not given:
        raise InputError("Received targets of no modality; give at least one modality.")
    found = {}
    for modality, value in given.items():
        targets = value if isinstance(value, list | tuple) else ()
        wrong = [name for name in targets if not isinstance(name, str) or not _NAME.fullmatch(name)]
        # Files are named by them, and some disks do not tell upper from lower case.
        if not targets or wrong or len({name.lower() for name in targets}) != len(targets):
            raise InputError(
                f"Received the targets {shown_value(value)} of {modality}; expected a list of one "
                "or more different names of letters, digits, - and _, each beginning with a "
                "letter, such as ['vessels', 'optic_disc']."
            )
        if BACKGROUND in targets:
            raise InputError(
                f"Received {BACKGROUND!r} as a target of {modality}, which stands for no target in "
                "label images; give another name."
            )
        if len(targets) > _MOST:
            raise InputError(
                f"Received {len(targets)} targets of {modality}; expected at most {_MOST}."
            )
        found[str(modality)] = tuple(targets)
    return found


def _known(what, modality, name, names):
    if name not in names:
        raise InputError(
            f"Received {what} with the target {shown_value(name)} of {modality}; its targets are "
            f"{', '.join(names)}."
        )
    return name


def _groups(modality, groups, names):
    what = f"exclusive={shown_value(groups)}"
    if not isinstance(groups, list | tuple) or any(isinstance(group, str) for group in groups):
        raise InputError(
            f"Received {what} for {modality}; expected a list of groups, such as "
            "[['arteries', 'veins']]."
        )
    groups = tuple(
        tuple(_known(what, modality, name, names) for name in _list(group)) for group in groups
    )
    members = [name for group in groups for name in group]
    if len(set(members)) != len(members) or any(len(group) < 2 for group in groups):
        raise InputError(
            f"Received {what} for {modality}; expected groups of two or more targets, and each "
            "target in one group at most."
        )
    return groups


def _pairs(modality, pairs, names):
    what = f"nested={shown_value(pairs)}"
    if not isinstance(pairs, Mapping):
        raise InputError(
            f"Received {what} for {modality}; expected a dict of an inner target to its outer "
            "one, such as {'optic_cup': 'optic_disc'}."
        )
    pairs = {
        _known(what, modality, inner, names): _known(what, modality, outer, names)
        for inner, outer in pairs.items()
    }
    for inner in pairs:
        seen, outer = {inner}, pairs.get(inner)
        while outer is not None:
            if outer in seen:
                raise InputError(
                    f"Received {what} for {modality}, in which {inner} contains itself; expected "
                    "pairs that lead from inner to outer targets."
                )
            seen.add(outer)
            outer = pairs.get(outer)
    return pairs


def _check_together(exclusive, nested):
    """A target inside of one that it excludes could only be empty."""
    for modality, pairs in nested.items():
        for inner in pairs:
            outer = pairs.get(inner)
            while outer is not None:
                for group in exclusive.get(modality, ()):
                    if inner in group and outer in group:
                        raise InputError(
                            f"Received targets of {modality} in which {inner} lies inside of "
                            f"{outer} and excludes it; expected one of the two, or neither."
                        )
                outer = pairs.get(outer)


def _kinds(modality, kinds, names):
    what = f"instances={shown_value(kinds)}"
    if not isinstance(kinds, Mapping):
        raise InputError(
            f"Received {what} for {modality}; expected a dict of a target to how its objects are "
            "told apart, such as {'nuclei': 'boundary'}."
        )
    found = {}
    for name, kind in kinds.items():
        _known(what, modality, name, names)
        kind = DEFAULT_INSTANCE_KIND if kind is True else kind
        if kind is False or kind is None:
            continue
        if kind not in INSTANCE_KINDS:
            raise InputError(
                f"Received {what} for {modality}; expected one of {', '.join(INSTANCE_KINDS)} for "
                "each target."
            )
        found[name] = kind
    return found
