from pathlib import Path

import pytest

from keras_espmedsam.data import Record, TargetMask, Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.data.sampling_weights import (
    group_names,
    levels_of,
    sampling_weights,
)


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


SETS = [
    *[("fundus", "drive", "v")] * 6,
    *[("fundus", "hrf", "v")] * 2,
    ("fundus", "hrf", "d"),
    *[("xray", "jsrt", "lungs")] * 3,
]
OF_SETS = [
    Record("train", modality, name, Path("a.png"), targets=(TargetMask(target, Path("m.png")),))
    for modality, name, target in SETS
]


def _shares(balance, weights=None, records=OF_SETS):
    groups, probabilities = sampling_weights(records, balance, weights)
    assert probabilities.sum() == pytest.approx(1)
    return [(group.tolist(), round(p, 6)) for group, p in zip(groups, probabilities, strict=True)]


def test_each_data_set_of_a_modality_equally_often():
    assert _shares(["modality", "dataset"]) == [
        ([0, 1, 2, 3, 4, 5], 0.25),
        ([6, 7, 8], 0.25),
        ([9, 10, 11], 0.5),
    ]


def test_each_target_of_a_data_set_equally_often():
    assert _shares(["modality", "dataset", "target"]) == [
        ([0, 1, 2, 3, 4, 5], 0.25),
        ([8], 0.125),
        ([6, 7], 0.125),
        ([9, 10, 11], 0.5),
    ]
    assert [share for _, share in _shares(["modality", "target"])] == [0.25, 0.25, 0.5]


def test_weights_of_each_level():
    weights = {"xray": 3, "hrf": 2, "fundus/d": 0}
    shares = dict(
        (tuple(rows), p) for rows, p in _shares(["modality", "dataset", "target"], weights)
    )
    assert shares[0, 1, 2, 3, 4, 5] == pytest.approx(0.25 / 3, abs=1e-6)
    assert shares[6, 7] == pytest.approx(0.25 * 2 / 3, abs=1e-6)
    assert (shares[8,], shares[9, 10, 11]) == (0, 0.75)


def test_one_level_is_what_it_was():
    for balance in ("dataset", ["dataset"], ("dataset",)):
        assert [round(share, 4) for _, share in _shares(balance)] == [0.3333] * 3
    assert _shares(None) == [(list(range(12)), 1.0)]


def test_an_image_of_several_targets_counts_once_in_each():
    groups, _ = sampling_weights(RECORDS, ["modality", "target"], None, TARGETS)
    assert [group.tolist() for group in groups] == [[3], [1], [0, 1], [2]]


@pytest.mark.parametrize(
    ("balance", "weights", "message"),
    [
        ("image", None, "balance='image'; expected one of dataset, modality, target, a list of se"),
        (["modality", "image"], None, "expected one of dataset"),
        ({"modality": 1}, None, "expected one of dataset"),
        (["dataset", "modality"], None, r"in the order modality, dataset, target, such as"),
        (["dataset", "dataset"], None, "each once"),
        ([], None, "each once"),
        (["modality", "dataset"], {"hrff": 1}, "of the modality and dataset drive, fundus, hrf, "),
        (["modality", "dataset"], {"drive": 0, "hrf": 0}, "data sets drive, hrf of fundus; expec"),
        (["modality", "dataset"], {"drive": float("nan")}, "data sets drive, hrf of fundus; exp"),
    ],
)
def test_what_cannot_be_drawn(balance, weights, message):
    with pytest.raises(InputError, match=message):
        sampling_weights(OF_SETS, balance, weights)


def test_a_name_of_two_things_cannot_have_a_weight():
    records = [Record("train", "xray", name, Path("a.png")) for name in ("xray", "jsrt")]
    assert sampling_weights(records, ["modality", "dataset"])[1].tolist() == [0.5, 0.5]
    with pytest.raises(
        InputError, match="weight of xray, which is the name of a modality and of a"
    ):
        sampling_weights(records, ["modality", "dataset"], {"xray": 2})


def test_levels():
    assert levels_of(["dataset", "target"]) == ("dataset", "target")
