import dataclasses
from pathlib import Path

import pytest

from keras_espmedsam.data import Record, TargetMask
from keras_espmedsam.errors import InputError

VESSELS = TargetMask("vessels", Path("v.png"), other_masks=(Path("w.png"),))
DISC = TargetMask("optic_disc", Path("d.png"), instances=Path("i.png"))


def _record(**options):
    return Record("train", "fundus", "eyes", Path("1.jpg"), **options)


def test_the_mask_is_that_of_the_first_target():
    record = _record(targets=[VESSELS, DISC])
    assert (record.mask, record.other_masks) == (Path("v.png"), (Path("w.png"),))
    assert record.targets == record.target_masks == (VESSELS, DISC)
    assert [path.name for path in record.files] == ["1.jpg", "v.png", "w.png", "d.png", "i.png"]
    assert len({record, dataclasses.replace(record, split="train")}) == 1


def test_a_mask_alone_is_of_the_first_target():
    record = _record(mask=Path("m.png"), other_masks=(Path("n.png"),))
    assert record.targets == ()
    assert record.target_masks == (TargetMask("", Path("m.png"), other_masks=(Path("n.png"),)),)
    assert _record().target_masks == ()
    assert _record().files == (Path("1.jpg"),)


@pytest.mark.parametrize(
    "options", [{"targets": (VESSELS, DISC)}, {"mask": Path("m.png")}, {}], ids=len
)
def test_without_masks(options):
    bare = _record(index=3, group="g", **options).without_masks()
    assert bare == _record(index=3, group="g")


def test_a_target_has_one_mask():
    with pytest.raises(InputError, match=r"the target vessels of 1.jpg twice; give each target"):
        _record(targets=(VESSELS, DISC, VESSELS))


def test_one_value_and_several():
    assert TargetMask("heart", Path("a.png"), value=2).values == (2,)
    assert TargetMask("heart", Path("a.png"), value=(2, 3)).values == (2, 3)
    assert TargetMask("heart", Path("a.png")).values is None
