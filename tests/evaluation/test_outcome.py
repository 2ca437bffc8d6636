import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.outcome import Outcome


@pytest.fixture
def records(tmp_path):
    """One image, a file of three, its second alone, and a file that is not there."""
    pages = [Image.fromarray(np.full((3, 4), value, "uint8")) for value in (0, 255, 0)]
    pages[1].copy().save(tmp_path / "one.png")
    pages[0].save(tmp_path / "three.tif", save_all=True, append_images=pages[1:])
    one, three, none = (
        Record("test", "xray", "d", tmp_path / name, tmp_path / name)
        for name in ("one.png", "three.tif", "none.png")
    )
    return [one, three, dataclasses.replace(three, index=1), none]


def test_what_is_wanted_and_what_is_refused_by_its_header(records):
    told, done = [], []
    outcome = Outcome(records, 10**6, done.append, lambda *one: told.append(one))
    assert {number: list(wanted) for number, wanted in outcome.wanted.items()} == {
        0: [0],
        1: [0, 1, 2],
        2: [1],
    }
    ((record, reason),) = told
    assert (record, record.index) == (records[3], None)
    assert "does not exist" in reason
    assert outcome.failed() == [
        {"dataset": "d", "split": "test", "image": str(records[3].image)}
        | {"index": None, "count": 1, "reason": reason}
    ]
    outcome.tell_progress()
    outcome.measure(1, 0, {})
    outcome.tell_progress()
    outcome.fail(1, 1, "Cut.", count=2)
    outcome.measure(2, 1, {})
    outcome.tell_progress()
    assert done == [1, 2]
    assert [one["index"] for one in outcome.failed()] == [1, None]


def test_nothing_that_can_be_used_is_one_sentence(records):
    told = []
    with pytest.raises(InputError, match=r"No image can be measured\. .*none\.png does not exist"):
        Outcome(records[3:], 10**6, on_failure=lambda *one: told.append(one))
    assert told == []
    with pytest.raises(InputError, match="the limit is 2"):
        Outcome(records[:3], 2)
    beyond = dataclasses.replace(records[1], index=3)
    with pytest.raises(InputError, match="index 3"):
        Outcome([beyond], 10**6)
