"""Split records into train, val and test without splitting a patient or a video."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError


def split_by_group(
    records: Sequence[Record], fractions: Mapping[str, float], seed: int = 0
) -> list[Record]:
    """Assign a split to each record, the same for all records of a group.

    Groups are assigned one by one, largest first, to the split that lacks most of their data sets,
    so that each split gets its fraction of every data set as closely as the groups allow. Records
    without a group are groups of one, except that records of one image for different targets stay
    together. Groups with the same name are one group, even across data sets.

    Args:
        records: the records; their current split is ignored.
        fractions: the fraction of each split, such as `{"train": 0.8, "val": 0.1, "test": 0.1}`.
        seed: chooses among equally good splits.

    Returns:
        The records in their order, with new splits; deterministic in the arguments.

    Raises:
        InputError: when the fractions are not numbers above 0 that sum to 1, or there are too few
            groups for one of the splits.

    Example:
        >>> records = [Record("", "xray", "a", f"{i}.png", group=str(i // 2)) for i in range(8)]
        >>> records = split_by_group(records, {"train": 0.75, "val": 0.25})
        >>> [records[i].split == records[i + 1].split for i in range(0, 8, 2)]
        [True, True, True, True]
        >>> sorted(record.split for record in records).count("val")
        2
    """
    names, shares = tuple(fractions), np.array(list(fractions.values()), "float64")
    if not names or not (shares > 0).all() or abs(shares.sum() - 1) > 1e-6:
        raise InputError(
            f"Received the fractions {dict(fractions)}; expected a number above 0 for each split, "
            "with the sum 1."
        )
    members: dict[tuple, list[int]] = {}
    for row, record in enumerate(records):
        members.setdefault(_group(row, record), []).append(row)
    datasets = sorted({record.dataset for record in records})
    column = {name: i for i, name in enumerate(datasets)}
    groups = list(members.values())
    held = np.zeros((len(groups), len(datasets)))
    for i, rows in enumerate(groups):
        for name, count in Counter(records[row].dataset for row in rows).items():
            held[i, column[name]] = count
    # How many images each split still lacks of each data set: (splits, data sets).
    lacking = shares[:, None] * held.sum(0)
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(-held[order].sum(1), kind="stable")]
    chosen = np.zeros(len(groups), int)
    for i in order:
        chosen[i] = np.argmax(lacking @ held[i])
        lacking[chosen[i]] -= held[i]
    empty = [name for number, name in enumerate(names) if number not in chosen]
    if empty or not groups:
        raise InputError(
            f"Received {len(records)} records in {len(groups)} groups, too few for the split "
            f"{', '.join(empty or names)} with the fractions {dict(fractions)}; give more groups "
            "or other fractions."
        )
    split_of = {row: names[chosen[i]] for i, rows in enumerate(groups) for row in rows}
    return [dataclasses.replace(record, split=split_of[i]) for i, record in enumerate(records)]


def _group(row, record):
    if record.group:
        return "group", record.group
    # Two sources may label different targets of the same images.
    return ("image", record.image) if record.targets else ("row", row)
