import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation import read_labelled as module
from keras_espmedsam.evaluation.outcome import Outcome
from keras_espmedsam.evaluation.read_labelled import read_labelled


@pytest.fixture
def record(tmp_path):
    pages = [Image.fromarray(np.full((3, 4), value, "uint8")) for value in (10, 20, 30)]
    masks = [Image.fromarray(np.full((3, 4), value, "uint8")) for value in (0, 255, 0)]
    for name, images in (("scan.tif", pages), ("mask.tif", masks)):
        images[0].save(tmp_path / name, save_all=True, append_images=images[1:])
    return Record("test", "xray", "d", tmp_path / "scan.tif", tmp_path / "mask.tif")


def test_only_what_is_wanted_is_read(record):
    outcome = Outcome([record, dataclasses.replace(record, index=1)], 100)
    found = list(read_labelled(outcome, {0: [0, 2], 1: [1]}, 100))
    assert [one.key for one in found] == [(0, 0), (0, 2), (1, 1)]
    assert [one.record.index for one in found] == [0, 2, 1]
    assert [int(one.image.array[0, 0]) for one in found] == [10, 30, 20]
    assert [bool(one.mask.all()) for one in found] == [False, False, True]
    record.image.unlink()
    assert list(read_labelled(outcome, {0: [], 1: []}, 100)) == []
    assert outcome.failures == []


@pytest.mark.parametrize("what", ["size", "fewer", "damage"])
def test_what_shows_only_in_the_pixels(record, monkeypatch, what):
    """Headers that say one thing, and pixels another."""

    def read_samples(record, max_pixels, intensity):
        for index in range(3):
            if index == 1 and what == "fewer":
                return
            if index == 1 and what == "damage":
                raise InputError("It is cut.")
            mask = np.zeros((3, 5 if index == 1 else 4), bool)
            yield DecodedImage(np.zeros((3, 4), "uint8"), record.image, index, 3), mask

    outcome = Outcome([record], 100)
    monkeypatch.setattr(module, "labelled_images", read_samples)
    keys = [one.key for one in read_labelled(outcome, outcome.wanted, 100)]
    (failure,) = outcome.failures
    expected, words = {
        "size": ([(0, 0), (0, 2)], "has 4 x 3 pixels and its mask .* 5 x 3"),
        "fewer": ([(0, 0)], "fewer images than its header says.* 2 images of the file"),
        "damage": ([(0, 0)], "It is cut. 2 images of the file are not measured"),
    }[what]
    assert keys == expected
    assert (failure["index"], failure["count"]) == (1, 3 - len(expected))
    with pytest.raises(InputError, match=words):
        raise outcome.nothing_measured()
