from pathlib import Path

import pytest

from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets

NAMED = Targets({"fundus": ("vessels", "disc"), "xray": ("mask",), "skin": ("lesion",)})


def record(modality, *targets):
    masks = tuple(TargetMask(name, Path(f"{name}.png")) for name in targets)
    plain = Path("mask.png") if not targets else None
    return Record("test", modality, "d", Path("1.png"), plain, targets=masks)


def test_names_and_channels():
    found = MeasuredTargets(NAMED, [record("fundus", "disc"), record("xray"), record("skin")])
    assert found.named
    assert found.names == ("disc", "mask", "lesion", "vessels")
    for modality, given, name, channel in (
        ("fundus", "disc", "disc", 1),
        ("xray", "", "mask", 0),
        ("skin", "", "lesion", 0),
    ):
        assert found.label(modality, given) == found.name(modality, given) == name
        assert found.channel(modality, given) == channel


def test_without_names_nothing_is_named():
    found = MeasuredTargets(NAMED, [record("xray")])
    assert not found.named and found.label("xray", "") == ""


def test_the_data_names_what_the_model_does_not():
    found = MeasuredTargets(NAMED, [record("xray", "lungs"), record("xray")])
    assert found.label("xray", "lungs") == found.label("xray", "") == "lungs"
    assert found.name("xray", "lungs") == "mask"


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([record("xray", "lungs"), record("xray", "heart")], "lungs, heart of xray, of which this"),
        (
            [record("skin", "mole")],
            "mole of skin, which .* It has lesion. .* by --target or",
        ),
        (
            [record("fundus", "disc", "cup"), record("xray", "lungs"), record("skin", "lesion")],
            r"by --target disc --target lungs --target lesion or by the targets of read_index\.",
        ),
        ([record("fundus", "lesion")], r"lesion of fundus, .* lesion is a target of skin\."),
        (
            [record("fundus", "disc", "vessels", "")],
            "1.png has a mask of the target vessels and one",
        ),
        ([record("xray", "", "lungs")], "mask of the target lungs and one without a target's name"),
        ([record("fundus", "mask")], "mask of fundus, which this preset does not have"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(records, words):
    with pytest.raises(InputError, match=words):
        MeasuredTargets(NAMED, records)
