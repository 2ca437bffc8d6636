"""The entries of a JSON file of splits: names of images, or objects of an image and its masks."""

import json
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.data.file_names import find_file
from keras_espmedsam.data.label_table import check_target_name, parse_labels
from keras_espmedsam.data.record import TargetMask
from keras_espmedsam.data.target_rows import row_targets
from keras_espmedsam.errors import InputError, InputWarning, did_you_mean

KEYS = ("image", "mask", "masks", "target", "labels", "instances", "modality", "dataset", "group")
"""The keys that an entry may have; others are ignored with a warning."""

_NAMES = {
    "image": 'a path, such as "images/1.png"',
    "mask": 'a path, such as "masks/1.png"',
    "target": 'a name, such as "optic_disc"',
    "modality": 'a name, such as "fundus"',
    "dataset": "a data set's name",
}
_FORM = 'an image\'s name, or an object with "image" and "mask", or "masks" by target'
_MOST_WARNINGS = 5


def checked_entry(entry: Any, said: str) -> str | dict[str, Any]:
    """Return an entry without keys that are null, or raise for one that cannot be read.

    Args:
        entry: an item of a list in the file.
        said: where it stands, such as `"entry 1 of train in splits.json"`.

    Raises:
        InputError: for another type, values of another type, and an object without a mask.

    Example:
        >>> checked_entry({"image": "1.png", "mask": "m.png", "group": None}, "entry 1")
        {'image': '1.png', 'mask': 'm.png'}
    """
    if isinstance(entry, str) and entry:
        return entry
    if not isinstance(entry, dict):
        raise InputError(f"Received {_as_json(entry)} as {said}; expected {_FORM}.")
    entry = {key: value for key, value in entry.items() if value is not None}
    for key, expected in _NAMES.items():
        empty = key in ("modality", "dataset") and entry.get(key) == ""
        if key in entry and not (_is_text(entry[key]) or empty):
            raise InputError(
                f"Received {key}={shown_value(entry[key])} in {said}; expected {expected}."
            )
    for key in ("masks", "instances"):
        one = key == "instances" and _is_text(entry.get(key))
        if key in entry and not (one or _are_paths(entry[key])):
            raise InputError(
                f"Received {key}={shown_value(entry[key])} in {said}; expected "
                f"{'a path, or ' * (key == 'instances')}an object of target to path, such as "
                f'{{"nuclei": "{key}/1.png"}}.'
            )
    if isinstance(entry.get("group"), dict | list):
        raise InputError(
            f"Received group={shown_value(entry['group'])} in {said}; expected the name or number "
            "of a patient, video or other group."
        )
    for missing, keys in (("image", ("image",)), ("mask", ("mask", "masks", "instances"))):
        if not any(key in entry for key in keys):
            wrong = next((key for key in entry if key not in KEYS), None)
            has = "" if wrong is None else f", which has the unknown key {shown_value(wrong)}"
            meant = "." if wrong is None else did_you_mean(wrong, KEYS)
            raise InputError(f"Received no {missing} in {said}{has}; expected {_FORM}{meant}")
    return entry


def warn_of_unknown_keys(entries: Iterable[tuple[str, str | dict[str, Any]]]) -> None:
    """Warn of keys that are ignored, once for each.

    Args:
        entries: where each entry stands, and the entry.

    Warns:
        InputWarning: for at most five keys.

    Example:
        >>> warn_of_unknown_keys([("entry 1", {"image": "1.png", "mask": "m.png"})])
    """
    found: dict[str, list[str]] = {}
    for said, entry in entries:
        for key in entry if isinstance(entry, dict) else ():
            if key not in KEYS:
                found.setdefault(key, []).append(said)
    for key, places in list(found.items())[:_MOST_WARNINGS]:
        more = f" and {len(places) - 1} more" if len(places) > 1 else ""
        warnings.warn(
            f"The key {shown_value(key)} of {places[0]}{more} is ignored"
            f"{did_you_mean(key, KEYS)} Known are {', '.join(KEYS)}.",
            InputWarning,
            stacklevel=3,
        )


def entry_targets(
    said: str,
    entry: Mapping[str, Any],
    folder: Path,
    target: str,
    table: Mapping[int, tuple[str, ...]] | None,
) -> tuple[TargetMask, ...] | Path | None:
    """Return what an entry labels: its targets, or the path of its only mask.

    Args:
        said: where it stands, for messages.
        entry: from `checked_entry`.
        folder: the folder that its paths are relative to.
        target: the target of its mask if it names none; or empty.
        table: the labels of its mask if it names neither target nor labels; or None.

    Raises:
        InputError: for keys that exclude each other, and for names or labels that are not allowed.

    Example:
        >>> entry_targets("entry 1", {"image": "1.png", "mask": "m.png"}, Path("a"), "", None).name
        'm.png'
    """
    instances = entry.get("instances")
    several = "masks" in entry or (
        isinstance(instances, dict) and not {"mask", "target", "labels"} & set(entry)
    )
    if several:
        return _targets_by_name(said, entry, folder)
    mask = find_file(folder, entry["mask"]) if "mask" in entry else None
    if isinstance(instances, dict):
        if len(instances) > 1 or list(instances) != [entry.get("target", *instances)]:
            raise InputError(
                f"Received instances of {', '.join(map(shown, instances))} in {said}; expected "
                "those of its only mask. Give several by `masks`."
            )
        entry = {**entry, "target": next(iter(instances))}
        instances = next(iter(instances.values()))
    labels = None if entry.get("target") else table
    if entry.get("labels"):
        labels = parse_labels(entry["labels"], f"in {said}")
    numbered = None if instances is None else find_file(folder, instances)
    name = entry.get("target") or ("" if labels else target)
    return row_targets(said, mask, name, labels, numbered) or mask


def _targets_by_name(said, entry, folder):
    for key in ("mask", "target", "labels"):
        if key in entry:
            raise InputError(
                f"Received masks and {key} in {said}; give the mask of each target in masks, or "
                "one mask with a target or labels."
            )
    masks, instances = entry.get("masks", {}), entry.get("instances", {})
    if not isinstance(instances, dict):
        raise InputError(
            f"Received instances={shown_value(instances)} for several masks in {said}; expected an "
            'object of target to path, such as {"nuclei": "a.png"}.'
        )
    found: tuple[TargetMask, ...] = ()
    for target in dict.fromkeys((*masks, *instances)):
        paths = [
            find_file(folder, one[target]) if target in one else None for one in (masks, instances)
        ]
        check_target_name(target, f"in {said}")
        found += row_targets(said, paths[0], target, None, paths[1])
    return found


def _as_json(value):
    return shown(json.dumps(value), 80)


def _is_text(value):
    return isinstance(value, str) and bool(value)


def _are_paths(value):
    return isinstance(value, dict) and bool(value) and all(map(_is_text, value.values()))
