import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.data import (
    Record,
    TargetMask,
    TargetPixels,
    Targets,
    check_records,
    read_index,
)
from keras_espmedsam.data.target_channels import TargetChannels
from keras_espmedsam.errors import InputError

EYE = Targets(
    {"fundus": ("arteries", "veins", "disc", "cup"), "microscopy": ("nuclei",), "xray": ("mask",)},
    exclusive={"fundus": [("arteries", "veins")]},
    nested={"fundus": {"cup": "disc"}},
    instances={"microscopy": {"nuclei": "boundary"}},
)
ROWS = np.arange(100)[:, None] + np.zeros((1, 10), int)


def _record(modality, *targets, instances=None):
    masks = tuple(TargetMask(name, Path(f"{name or 'm'}.png"), instances) for name in targets)
    return Record("train", modality, "set", Path("1.jpg"), targets=masks)


def _labels(**masks):
    return {name: TargetPixels(mask) for name, mask in masks.items()}


def test_channels_of_a_record():
    some = [_record("fundus", "cup", "veins"), _record("fundus", ""), _record("xray", "lungs")]
    channels = TargetChannels(EYE, some)
    assert channels.num_channels == 4
    assert channels.labelled(some[0]).tolist() == [False, True, False, True]
    assert channels.labelled(some[1]).tolist() == [True, False, False, False]
    assert channels.labelled(some[2]).tolist() == [True, False, False, False]
    assert channels.labelled(some[0].without_masks()).tolist() == [False] * 4


def test_hidden_channels_are_labelled_by_instances():
    bare, numbered = _record("microscopy", "nuclei"), _record("microscopy", "", instances="i.png")
    channels = TargetChannels(EYE, [bare, numbered])
    assert channels.reads_instances and not TargetChannels(None, [bare]).reads_instances
    assert channels.own_channels("microscopy") == 2
    assert channels.labelled(bare).tolist() == [True, False, False, False]
    assert channels.labelled(numbered).tolist() == [True, True, False, False]
    assert channels.hidden(numbered) == [(1, "", "boundary")]
    objects = dataclasses.replace(bare.targets[0], objects=True)
    alone = dataclasses.replace(bare, targets=(objects,))
    assert channels.labelled(alone).tolist() == [True, True, False, False]


def test_a_modality_with_an_unnamed_target_takes_one():
    same = [_record("xray", "lungs"), _record("xray", ""), _record("fundus", "vessels")]
    assert TargetChannels(None, same).num_channels == 1
    with pytest.raises(
        InputError, match=r"targets lungs, heart for xray, of which the model has one unnamed .* ch"
    ):
        TargetChannels(EYE, [_record("xray", "lungs"), _record("xray", "heart")])
    with pytest.raises(InputError, match="lungs, heart for images of no modality"):
        TargetChannels(None, [_record("", "lungs", "heart")])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (_record("fundus", "vessels"), r"'vessels' of fundus.* It is labelled in 1.jpg; leave oth"),
        (_record("microscopy", "cup"), r"are nuclei. It is a target of fundus. It is labelled in"),
        (_record("fundus", "", "arteries"), r"1.jpg has a mask without .* arteries, the first"),
        (_record("xray", "", "lungs"), r"1.jpg has a mask without a target's name"),
    ],
)
def test_targets_that_the_model_lacks(record, message):
    with pytest.raises(InputError, match=message):
        TargetChannels(EYE, [_record("fundus", "cup"), record])
    with pytest.raises(
        InputError, match=r"targets={'fundus': \['cup'\]}; expected those of a model"
    ):
        TargetChannels({"fundus": ["cup"]}, [])
    with pytest.raises(InputError, match="overlap='both'; expected one of error, first, neither"):
        TargetChannels(EYE, [], overlap="both")


def test_nested_targets():
    record = _record("fundus", "disc", "cup")
    channels = TargetChannels(EYE, [record])
    inside = channels.settled(record, _labels(disc=ROWS < 60, cup=ROWS < 40))
    np.testing.assert_array_equal(inside[3], ROWS < 40)
    # One row of 100 is one percent, which is cut.
    settled = channels.settled(record, _labels(disc=ROWS > 0, cup=ROWS < 100))
    np.testing.assert_array_equal(settled[3], ROWS > 0)
    np.testing.assert_array_equal(settled[2], ROWS > 0)
    with pytest.raises(
        InputError, match=r"^2 % of cup in cup.png is outside of disc in disc.png, "
    ):
        channels.settled(record, _labels(disc=ROWS > 1, cup=ROWS < 100))
    # Where one of the two is not labelled, or empty, nothing can be said.
    alone = _record("fundus", "cup")
    assert channels.settled(alone, _labels(cup=ROWS < 40))[3].sum() == 400
    assert not channels.settled(record, _labels(disc=ROWS < 0, cup=ROWS < 0))[3].any()


@pytest.mark.parametrize(
    ("overlap", "arteries", "veins"),
    [("first", ROWS < 60, ROWS >= 60), ("neither", ROWS < 50, ROWS >= 60)],
)
def test_what_becomes_of_overlaps(overlap, arteries, veins):
    record = _record("fundus", "veins", "arteries")
    labels = _labels(veins=ROWS >= 50, arteries=ROWS < 60)
    settled = TargetChannels(EYE, [record], overlap).settled(record, labels)
    np.testing.assert_array_equal(settled[0], arteries)
    np.testing.assert_array_equal(settled[1], veins)
    with pytest.raises(
        InputError, match=r"^20 % of veins in veins.png is also arteries in arteries.png, but the"
    ):
        TargetChannels(EYE, [record]).settled(record, labels)
    # Up to one percent of the smaller one, and it goes to the first.
    few = _labels(veins=ROWS >= 0, arteries=(ROWS < 100) & (np.arange(10) < 1))
    few["veins"] = TargetPixels((ROWS >= 0) & ~few["arteries"].mask | (ROWS == 5))
    settled = TargetChannels(EYE, [record]).settled(record, few)
    assert (settled[0] & settled[1]).sum() == 0 and settled[0].sum() == 100


def test_moved_masks_agree_again():
    channels = TargetChannels(EYE, [])
    masks = np.zeros((2, 2, 4), "uint8")
    masks[0, :, :2] = 1  # both arteries and veins
    masks[1, 0, 3] = 1  # a cup without a disc
    settled = channels.free_of_conflicts("fundus", masks, np.array([True] * 4))
    assert settled.dtype == "uint8"
    assert settled[..., 0].tolist() == [[1, 1], [0, 0]]
    assert not settled[..., 1].any() and not settled[..., 3].any()
    # The disc is unknown, so the cup is left alone.
    settled = channels.free_of_conflicts("fundus", masks, np.array([True, True, False, True]))
    assert settled[..., 3].tolist() == [[0, 0], [1, 0]]
    assert channels.free_of_conflicts("microscopy", masks, np.ones(4, bool)) is masks


def test_three_levels_are_cut_from_outside():
    targets = Targets({"eye": ("c", "b", "a")}, nested={"eye": {"c": "b", "b": "a"}})
    masks = np.ones((1, 2, 3), "uint8")
    masks[0, 0, 2] = 0
    settled = TargetChannels(targets, []).free_of_conflicts("eye", masks, np.ones(3, bool))
    assert settled.tolist() == [[[0, 0, 0], [1, 1, 1]]]


def test_real_eyes(data_dir):
    """Cups are in their discs; arteries and veins cross in every image that has both."""
    path = data_dir / "index2.csv"
    if not path.exists():
        pytest.skip("the shared data is older")
    records = read_index(path, ["test"], datasets=["drishti_gs", "les_av"])
    names = {"fundus": ("vessels", "arteries", "veins", "optic_disc", "optic_cup")}
    nested = {"fundus": {"optic_cup": "optic_disc"}}
    assert check_records(records, targets=Targets(names, nested=nested))[1] == []
    targets = Targets(names, {"fundus": [("arteries", "veins")]}, nested)
    kept, left_out = check_records(records, targets=targets)
    assert {record.dataset for record, _ in left_out} == {"les_av"}
    assert {record.dataset for record in kept} == {"drishti_gs"}
    assert check_records(records, targets=targets, overlap="first")[1] == []
