from pathlib import Path

import pytest

from keras_espmedsam.data import Record, TargetMask, Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.data.sampling_weights import group_names, sampling_weights


def _record(modality, *targets):
    masks = tuple(TargetMask(name, Path("m.png")) for name in targets)
    return Record("train", modality, "set", Path("a.png"), targets=masks)


RECORDS = [
    _record("fundus", "v"),
    _record("fundus", "v", "d"),
    _record("xray", ""),
    _record("", "c"),
]
TARGETS = Targets({"fundus": ("v", "d"), "xray": ("lungs", "heart"), "": ("c",)})


def test_groups_by_target():
    """An image of several targets is in the group of each."""
    groups, probabilities = sampling_weights(RECORDS, "target", {"fundus/d": 2}, TARGETS)
    assert [group.tolist() for group in groups] == [[3], [1], [0, 1], [2]]
    assert probabilities.tolist() == [0.2, 0.4, 0.2, 0.2]


def test_names_of_groups():
    assert [group_names(one, "target", TARGETS) for one in RECORDS] == [
        ["fundus/v"],
        ["fundus/v", "fundus/d"],
        ["xray/lungs"],
        ["c"],
    ]
    plain = Record("train", "xray", "set", Path("a.png"), Path("m.png"))
    assert group_names(plain, "target", TARGETS) == ["xray/lungs"]
    assert group_names(plain, "target") == ["xray/mask"]
    assert group_names(plain.without_masks(), "target") == ["xray/mask"]
    assert group_names(plain, "dataset") == ["set"]


def test_weights_of_targets_that_are_not_there():
    with pytest.raises(
        InputError, match=r"weights of d; the records are of the target c, fundus/d"
    ):
        sampling_weights(RECORDS, "target", {"d": 2}, TARGETS)
    with pytest.raises(InputError, match="for the targets c, fundus/d, fundus/v, xray/lungs; exp"):
        sampling_weights(RECORDS, "target", {"c": -1}, TARGETS)
