from pathlib import Path

import pytest

from keras_espmedsam.data import Record, TargetMask
from keras_espmedsam.data.target_rows import (
    Row,
    chosen_names,
    join_rows,
    keep_targets,
    named_target,
    row_targets,
)
from keras_espmedsam.errors import InputError


def _record(image, *targets, modality="fundus", **options):
    targets = tuple(TargetMask(name, Path(f"{image}_{name}.png")) for name in targets)
    return Record("train", modality, "set", Path(f"{image}.png"), targets=targets, **options)


def test_a_row_with_a_mask_alone_labels_no_target():
    assert row_targets("row 1", Path("a.png")) == ()
    assert row_targets("row 1", None, target="vessels") == ()


def test_a_value_of_several_targets():
    labels = {128: ("disc",), 0: ("disc", "cup"), 255: ()}
    found = row_targets("row 1", Path("a.png"), labels=labels)
    assert [(one.target, one.values) for one in found] == [("disc", (128, 0)), ("cup", (0,))]
    assert {one.table for one in found} == {"128=disc;0=disc+cup;255=background"}


def test_instances_of_a_label_image_of_one_target():
    (one,) = row_targets("row 1", Path("a.png"), labels={1: ("n",)}, instances=Path("i.png"))
    assert (one.mask.name, one.instances.name, one.values) == ("a.png", "i.png", (1,))


def test_rows_are_joined_only_if_one_names_a_target():
    plain = [Record("train", "xray", "set", Path("1.png"), Path(f"{i}.png")) for i in range(2)]
    assert join_rows([Row("", one) for one in plain]) == plain
    rows = [
        Row(f"row {i}", one) for i, one in enumerate((plain[0], _record(1, "d", modality="xray")))
    ]
    (joined,) = join_rows(rows)
    assert [one.target for one in joined.targets] == ["", "d"]


def test_targets_of_chosen_modalities():
    records = [_record(1, "v", "d"), _record(2, "d"), _record(3, "l", modality="xray")]
    records.append(Record("train", "xray", "set", Path("4.png"), Path("4_mask.png")))
    assert keep_targets(records, None, "it") == records
    of = {"fundus": ["v"]}
    assert keep_targets(records, of, "it") == [_record(1, "v"), *records[2:]]
    assert keep_targets(records, ("l", "d"), "it") == [_record(1, "d"), *records[1:3]]
    with pytest.raises(InputError, match=r"the target d of xray, which it does not have. It has l"):
        keep_targets(records, {"xray": "d"}, "it")


def test_names_of_one_modality():
    assert chosen_names("v", "fundus") == ["v"]
    assert chosen_names({"fundus": ("v", "d")}, "fundus") == ["v", "d"]
    assert chosen_names({"fundus": "v"}, "xray") is None is chosen_names(None, "xray")
    assert [named_target(one, "xray") for one in (None, "l", {"xray": "l"}, {"fundus": "v"})] == [
        *("", "l", "l", "")
    ]
    with pytest.raises(InputError, match="the target '1'; expected a name"):
        named_target("1", "xray")
