"""Rows of a table of images and targets: join those of one image into its record."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.data.label_table import check_target_name, labels_text, values_by_target
from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.errors import InputError, did_you_mean

Chosen = Sequence[str] | str | Mapping[str, Sequence[str] | str]
"""Targets to keep: names, or a dict of modality to names."""
Named = str | Mapping[str, str]
"""The target of masks that name none, or a dict of modality to it."""


class Row(NamedTuple):
    """A record of one row.

    Args:
        said: where it stands, such as `"row 3 of the index a.csv"`.
        record: its record.
    """

    said: str
    record: Record


def row_targets(
    said: str,
    mask: Path | None,
    target: str = "",
    labels: Mapping[int, tuple[str, ...]] | None = None,
    instances: Path | None = None,
) -> tuple[TargetMask, ...]:
    """Return what one row labels; nothing if it has a mask alone.

    Args:
        said: where it stands, for messages.
        mask: path of the mask or label image, or None.
        target: the target's name, or empty.
        labels: the table of a label image, or None.
        instances: path of the image of numbered objects, or None.

    Raises:
        InputError: for a target's name that is not allowed, and for a target or instances of a
            label image with several targets.

    Example:
        >>> [one.target for one in row_targets("row 1", Path("a.png"), labels={1: ("lungs",)})]
        ['lungs']
    """
    if target:
        check_target_name(target, f"in {said}")
    mask = mask or instances
    if mask is None or not (target or labels or instances is not None):
        return ()
    if labels is None:
        return (TargetMask(target, mask, instances),)
    if target:
        raise InputError(
            f"Received the target {target} and labels in {said}; give a target for the mask of "
            "that target alone, or labels for a label image."
        )
    values = values_by_target(labels)
    if instances is not None and len(values) > 1:
        raise InputError(
            f"Received instances for a label image of {', '.join(values)} in {said}; give the "
            "target with instances a row of its own, with a mask of that target alone."
        )
    table = labels_text(labels)
    return tuple(
        TargetMask(name, mask, instances, value=own, table=table) for name, own in values.items()
    )


def join_rows(rows: Sequence[Row]) -> list[Record]:
    """Return the records of rows; with targets, one for each image.

    Without any target, each row is a record, as it is written.

    Args:
        rows: the rows, in order.

    Returns:
        The records, in the order of each image's first row.

    Raises:
        InputError: for two rows of one target of an image, and rows of one image that disagree
            about anything else.

    Example:
        >>> masks = [TargetMask(name, Path(f"{name}.png")) for name in ("lungs", "heart")]
        >>> rows = [Row(f"row {i}", Record("train", "xray", "jsrt", Path("1.png"), targets=(one,)))
        ...         for i, one in enumerate(masks)]
        >>> [[one.target for one in record.targets] for record in join_rows(rows)]
        [['lungs', 'heart']]
    """
    if not any(row.record.targets for row in rows):
        return [row.record for row in rows]
    by_image: dict[str, list[Row]] = {}
    for row in rows:
        by_image.setdefault(os.path.normpath(row.record.image), []).append(row)
    return [_joined(own) for own in by_image.values()]


def _joined(rows):
    first = rows[0].record
    for name in ("split", "modality", "dataset", "group", "intensity"):
        for row in rows[1:]:
            one, other = getattr(first, name), getattr(row.record, name)
            if one != other:
                raise InputError(
                    f"The image {shown(first.image)} has the {name} {shown(one or 'none')} in "
                    f"{rows[0].said} and {shown(other or 'none')} in {row.said}; expected the "
                    "same for all targets of an image."
                )
    found: dict[str, tuple[str, TargetMask]] = {}
    for row in rows:
        for one in row.record.target_masks:
            said, _ = found.setdefault(one.target, (row.said, one))
            if found[one.target][1] is not one:
                raise InputError(
                    f"The target {one.target or '(none named)'} of the image {shown(first.image)} "
                    f"has a mask in {said} and in {row.said}; expected one for each target of an "
                    "image, so merge them or delete a row."
                )
    targets = tuple(one for _, one in found.values())
    return dataclasses.replace(first, mask=None, other_masks=(), targets=targets)


def keep_targets(records: Sequence[Record], targets: Chosen | None, where: str) -> list[Record]:
    """Keep only some targets of records, and the records that have one of them.

    Args:
        records: the records.
        targets: the names to keep; or dict of modality to names, where modalities that are not in
            it keep theirs; None for all. Masks without a target's name are kept only so.
        where: what the records are from, for messages, such as `"the index a.csv"`.

    Raises:
        InputError: for a modality or a target that none of the records has.

    Example:
        >>> record = Record("train", "xray", "jsrt", Path("1.png"), targets=(
        ...     TargetMask("lungs", Path("a.png")), TargetMask("heart", Path("b.png"))))
        >>> [one.target for one in keep_targets([record], "heart", "it")[0].targets]
        ['heart']
    """
    if targets is None:
        return list(records)
    by_modality: dict[str | None, list[str]] = (
        {str(modality): _listed(names) for modality, names in targets.items()}
        if isinstance(targets, Mapping)
        else {None: _listed(targets)}
    )
    for modality, own in by_modality.items():
        _check_chosen(records, modality, own, where)
    kept = []
    for record in records:
        key = None if None in by_modality else record.modality
        names = by_modality.get(key)
        if names is None:
            kept.append(record)
            continue
        left = tuple(one for one in record.targets if one.target in names)
        if left:
            kept.append(dataclasses.replace(record, mask=None, other_masks=(), targets=left))
    return kept


def chosen_names(targets: Chosen | None, modality: str) -> list[str] | None:
    """Return the chosen targets of one modality; None for all.

    Example:
        >>> chosen_names({"fundus": "vessels"}, "fundus"), chosen_names({"fundus": "vessels"}, "")
        (['vessels'], None)
    """
    if isinstance(targets, Mapping):
        return _listed(targets[modality]) if modality in targets else None
    return None if targets is None else _listed(targets)


def named_target(target: Named | None, modality: str, labels: Any = None) -> str:
    """Return the target of a modality's masks that name none; empty for its first.

    Args:
        target: its name, or dict of modality to name.
        modality: the modality.
        labels: the labels of all masks, which exclude it.

    Raises:
        InputError: for a name that is not allowed, and for a target together with labels.

    Example:
        >>> named_target({"xray": "lungs"}, "xray"), named_target(None, "xray")
        ('lungs', '')
    """
    if target is None:
        return ""
    if labels is not None:
        raise InputError(
            f"Received target={shown_value(target)} and labels={shown_value(labels)}; give a "
            "target for masks that show it alone, or labels for label images."
        )
    if isinstance(target, Mapping):
        target = target.get(modality, "")
    return target and check_target_name(target)


def _listed(names: Any) -> list[str]:
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list | tuple) or not names:
        raise InputError(
            f"Received targets={shown_value(names)}; expected the names of one or more targets, or "
            "a dict of modality to names."
        )
    return [check_target_name(name) for name in names]


def _check_chosen(records, modality, names, where):
    known = list(dict.fromkeys(record.modality for record in records))
    if modality is not None and modality not in known:
        raise InputError(
            f"Received targets of the modality {shown_value(modality)}, which {where} does not have"
            f"{did_you_mean(modality, known)} It has "
            f"{', '.join(shown(one) or '(none)' for one in known) or 'no image'}."
        )
    own = [record for record in records if modality is None or record.modality == modality]
    present = list(dict.fromkeys(one.target for record in own for one in record.targets))
    present = [name for name in present if name]
    of = "" if modality is None else f" of {shown(modality)}"
    for name in names:
        if name not in present:
            has = (
                f"{did_you_mean(name, present)} It has {', '.join(present)}."
                if present
                else "; its masks have no names of targets."
            )
            raise InputError(f"Received the target {name}{of}, which {where} does not have{has}")
