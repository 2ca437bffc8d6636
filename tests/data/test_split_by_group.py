import collections
from pathlib import Path

import pytest

from keras_espmedsam.data import Record, TargetMask, split_by_group
from keras_espmedsam.errors import InputError

FRACTIONS = {"train": 0.7, "val": 0.1, "test": 0.2}


def _records(dataset, sizes, named=True):
    return [
        Record("", "xray", dataset, f"{dataset}{g}_{i}.png", group=f"{dataset}{g}" * named)
        for g, size in enumerate(sizes)
        for i in range(size)
    ]


def _splits_of(records, key):
    found = collections.defaultdict(collections.Counter)
    for record in records:
        found[key(record)][record.split] += 1
    return found


def test_no_group_is_split_and_every_data_set_gets_its_fractions():
    records = _records("a", [3, 5, 2, 4] * 10) + _records("b", [1] * 60) + _records("c", [10] * 10)
    split = split_by_group(records, FRACTIONS, seed=3)
    assert [r.image for r in split] == [r.image for r in records]
    assert all(len(found) == 1 for found in _splits_of(split, lambda r: r.group).values())
    by_dataset = _splits_of(split, lambda r: r.dataset)
    # Its groups are of up to 5.
    assert by_dataset["a"] == pytest.approx({"train": 98, "val": 14, "test": 28}, abs=1)
    assert by_dataset["b"] == {"train": 42, "val": 6, "test": 12}
    assert by_dataset["c"] == {"train": 70, "val": 10, "test": 20}


def test_records_without_a_group_stand_alone():
    split = split_by_group(_records("a", [10], named=False), FRACTIONS)
    assert collections.Counter(r.split for r in split) == {"train": 7, "val": 1, "test": 2}


def test_a_group_in_two_data_sets_is_one():
    one = _records("a", [1] * 10)
    other = [Record("", "ct", "b", f"ct{i}.png", group=r.group) for i, r in enumerate(one)]
    split = split_by_group(one + other, {"train": 0.5, "test": 0.5})
    assert [r.split for r in split[:10]] == [r.split for r in split[10:]]


def test_the_seed_decides():
    records = _records("a", [2] * 20)
    assert split_by_group(records, FRACTIONS, 1) == split_by_group(records, FRACTIONS, 1)
    assert split_by_group(records, FRACTIONS, 1) != split_by_group(records, FRACTIONS, 2)


@pytest.mark.parametrize(
    "fractions",
    [{}, {"train": 0.5}, {"train": 1.5, "val": -0.5}, {"train": 1.0, "val": 0.0}],
)
def test_fractions_that_are_none(fractions):
    with pytest.raises(InputError, match=r"Received the fractions .*expected a number above 0"):
        split_by_group(_records("a", [1] * 10), fractions)


def test_too_few_groups():
    with pytest.raises(InputError, match="8 records in 2 groups, too few for the split val with"):
        split_by_group(_records("a", [6, 2]), FRACTIONS)
    with pytest.raises(InputError, match="0 records in 0 groups"):
        split_by_group([], FRACTIONS)


def test_records_of_one_image_stay_together():
    """Two sources may label different targets of the same images."""
    records = [
        Record("", "fundus", name, Path(f"{i}.png"), targets=(TargetMask(name, Path("m.png")),))
        for name in ("vessels", "optic_disc")
        for i in range(10)
    ]
    split = [one.split for one in split_by_group(records, {"train": 0.5, "val": 0.5})]
    assert split[:10] == split[10:] and split.count("train") == 10
