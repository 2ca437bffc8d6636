import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.data.samples import TargetPixels
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
    assert [bool(one.labels[""].mask.all()) for one in found] == [False, False, True]
    record.image.unlink()
    assert list(read_labelled(outcome, {0: [], 1: []}, 100)) == []
    assert outcome.failures == []


@pytest.mark.parametrize("what", ["size", "fewer", "damage"])
def test_what_shows_only_in_the_pixels(record, monkeypatch, what):
    """Headers that say one thing, and pixels another."""

    def target_images(record, max_pixels, intensity, instances):
        for index in range(3):
            if index == 1 and what == "fewer":
                return
            if index == 1 and what == "damage":
                raise InputError("It is cut.")
            mask = np.zeros((3, 5 if index == 1 else 4), bool)
            image = DecodedImage(np.zeros((3, 4), "uint8"), record.image, index, 3)
            yield image, {"": TargetPixels(mask)}

    outcome = Outcome([record], 100)
    monkeypatch.setattr(module, "target_images", target_images)
    keys = [one.key for one in read_labelled(outcome, outcome.wanted, 100)]
    (failure,) = outcome.failures
    expected, words = {
        "size": ([(0, 0), (0, 2)], "has 4 x 3 pixels and its mask .* 5 x 3"),
        "fewer": ([(0, 0)], "fewer images than its header states.* 2 images of the file"),
        "damage": ([(0, 0)], "It is cut. 2 images of the file are not measured"),
    }[what]
    assert keys == expected
    assert (failure["index"], failure["count"]) == (1, 3 - len(expected))
    with pytest.raises(InputError, match=words):
        raise outcome.nothing_measured()


def test_objects_are_read_where_they_are_wanted_and_masks_in_any_case(tmp_path):
    Image.fromarray(np.full((2, 3), 9, "uint8")).save(tmp_path / "image.png")
    Image.fromarray(np.array([[1, 1, 0], [0, 2, 2]], "uint16")).save(tmp_path / "objects.png")
    Image.fromarray(np.array([[255, 0, 0]] * 2, "uint8")).save(tmp_path / "edge.png")
    targets = (
        TargetMask("nuclei", tmp_path / "objects.png", tmp_path / "objects.png"),
        TargetMask("edge", tmp_path / "edge.png"),
    )
    record = Record("test", "microscopy", "d", tmp_path / "image.png", targets=targets)
    outcome = Outcome([record], 100)
    for wanted in ((), ("microscopy",)):
        (one,) = read_labelled(outcome, outcome.wanted, 100, with_instances=wanted)
        assert list(one.labels) == ["nuclei", "edge"]
        assert one.labels["nuclei"].mask.tolist() == [[True, True, False], [False, True, True]]
        assert one.labels["edge"].instances is None
        objects = one.labels["nuclei"].instances
        assert objects is None if not wanted else objects.tolist() == [[1, 1, 0], [0, 2, 2]]
        assert one.record_of("edge").targets == (targets[1],)
        assert one.record_of("edge").mask == tmp_path / "edge.png"
    # Both files' stamps are kept, so that a change of either is noticed.
    assert len(one.files) == 2 * 3
