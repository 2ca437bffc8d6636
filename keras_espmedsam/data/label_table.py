"""The table of a label image: which targets each of its values stands for."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.targets import BACKGROUND, Targets
from keras_espmedsam.errors import InputError

_VALUE = re.compile(r"[+-]?[0-9]{1,10}")
_EXPECTED = (
    "expected a name, or several, for each value, such as '1=lungs;2=heart' or "
    "'128=optic_disc;0=optic_disc+optic_cup;255=background'"
)


def parse_labels(labels: Any, said: str = "") -> dict[int, tuple[str, ...]]:
    """Read the table of a label image.

    Args:
        labels: text such as `"1=lungs;2=heart"`, with `+` between the targets of one value; or
            dict of value to name, text as above, or list of names. The name `background` stands
            for no target; so does 0 unless it is named.
        said: where it was given, for messages, such as `"in row 3 of the index a.csv"`.

    Returns:
        dict of each value to its targets' names, none for the background.

    Raises:
        InputError: for values that are not whole numbers or are given twice, and for names that
            are missing, repeated or not allowed.

    Example:
        >>> parse_labels("128=optic_disc;0=optic_disc+optic_cup;255=background")
        {128: ('optic_disc',), 0: ('optic_disc', 'optic_cup'), 255: ()}
    """
    said = f" {said}" if said else ""
    received = f"Received labels={shown_value(labels)}{said}"
    pairs: list[tuple[Any, Any]] = []
    if isinstance(labels, str):
        parts = [part.partition("=") for part in labels.split(";") if part.strip()]
        pairs = [(value, names) for value, _, names in parts]
    elif isinstance(labels, Mapping):
        pairs = list(labels.items())
    if not pairs:
        raise InputError(f"{received}; {_EXPECTED}.")
    found: dict[int, tuple[str, ...]] = {}
    for key, names in pairs:
        whole = isinstance(key, int) and not isinstance(key, bool)
        if not whole and not (isinstance(key, str) and _VALUE.fullmatch(key.strip())):
            raise InputError(
                f"{received}, in which {shown_value(key)} is no whole number; {_EXPECTED}."
            )
        value = int(key)
        if value in found:
            raise InputError(
                f"{received}, which names the value {value} twice; join its targets with +, as in "
                f"{value}=optic_disc+optic_cup."
            )
        found[value] = _names(names, value, received)
    if not any(found.values()):
        raise InputError(f"{received}, which names no target; {_EXPECTED}.")
    return found


def labels_text(labels: Mapping[int, tuple[str, ...]]) -> str:
    """Write a table as text.

    Example:
        >>> labels_text({1: ("lungs",), 7: ()})
        '1=lungs;7=background'
    """
    return ";".join(f"{value}={'+'.join(names) or BACKGROUND}" for value, names in labels.items())


def values_by_target(labels: Mapping[int, tuple[str, ...]]) -> dict[str, tuple[int, ...]]:
    """Return the values of each target, in the order of the table.

    Example:
        >>> values_by_target({128: ("disc",), 0: ("disc", "cup")})
        {'disc': (128, 0), 'cup': (0,)}
    """
    found: dict[str, tuple[int, ...]] = {}
    for value, names in labels.items():
        for name in names:
            found[name] = (*found.get(name, ()), value)
    return found


def check_target_name(name: Any, said: str = "") -> str:
    """Return a target's name, or raise for one that is not allowed.

    Args:
        name: the name.
        said: where it was given, for messages.

    Raises:
        InputError: for a name that `Targets` does not allow.

    Example:
        >>> check_target_name("optic_disc")
        'optic_disc'
    """
    if not _is_name(name):
        said = f" {said}" if said else ""
        raise InputError(
            f"Received the target {shown_value(name)}{said}; expected a name of letters, digits, "
            "- and _ that begins with a letter, such as optic_disc."
        )
    return name


@lru_cache(maxsize=1024)
def _allowed(name):
    try:
        Targets({"image": (name,)})
    except InputError:
        return False
    return True


def _is_name(name):
    return isinstance(name, str) and _allowed(name)


def _names(names, value, received):
    names = names.split("+") if isinstance(names, str) else names
    names = [one.strip() if isinstance(one, str) else one for one in _list(names)]
    if names == [BACKGROUND]:
        return ()
    wrong = [name for name in names if not _is_name(name) or name == BACKGROUND]
    if wrong or not names or len(set(names)) != len(names):
        raise InputError(
            f"{received}, in which the value {value} has the names {shown_value(names)}; expected "
            "one or more different names of letters, digits, - and _, each beginning with a "
            f"letter, or {BACKGROUND} alone."
        )
    return tuple(names)


def _list(names):
    return list(names) if isinstance(names, list | tuple) else [names]
