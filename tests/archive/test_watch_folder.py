"""Files that arrive in a folder, complete or not."""

import json
import os

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.archive import FileSegmenter, watch_folder
from keras_espmedsam.archive.watch_folder import STATE_FILE
from keras_espmedsam.errors import InputError
from tests.dicom.images import dicom_image


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in/sub").mkdir(parents=True)
    return tmp_path / "in"


@pytest.fixture
def output(tmp_path):
    return tmp_path / "out"


class Looks:
    """What happens between two looks; it ends the program after the last."""

    def __init__(self, *steps):
        self.steps = list(steps)

    def __call__(self, seconds):
        if not self.steps:
            raise KeyboardInterrupt
        self.steps.pop(0)()


def nothing():
    pass


def arrivals(folder, output, segmenter, *steps, once=False):
    found = []
    try:
        for one in watch_folder(folder, output, segmenter, 0.01, once, Looks(*steps)):
            found.append((one.path.relative_to(folder).as_posix(), one.state))
    except KeyboardInterrupt:
        pass
    return found


def png(path, value=200):
    Image.fromarray(np.full((7, 9), value, "uint8")).save(path)


def test_files_are_segmented_when_they_are_complete(folder, output, segmenter, bright):
    plain = FileSegmenter(bright, None, "ultrasound")
    dicom_image(folder / "sub/1.2.3.4", "ultrasound")  # Receivers name files by UID.

    def grows():
        png(folder / "late.png")
        (folder / "cut.part").write_bytes((folder / "late.png").read_bytes())

    def renamed():
        (folder / "cut.part").rename(folder / "cut.png")

    found = arrivals(folder, output, plain, grows, renamed, nothing, nothing)
    assert found == [("sub/1.2.3.4", "done"), ("late.png", "done"), ("cut.png", "done")]
    assert {path.relative_to(output).as_posix() for path in output.rglob("*.png")} == {
        *("sub/1.2.3.4_mask.png", "late_mask.png", "cut_mask.png")
    }
    # DICOM objects cannot refer to a PNG file.
    assert arrivals(folder, output / "b", segmenter, nothing)[1][1] == "failed"


def test_it_goes_on_where_it_was_stopped(folder, output, bright):
    plain = FileSegmenter(bright, None, "ultrasound")
    for name in ("a.png", "b.png"):
        png(folder / name)
    steps = watch_folder(folder, output, plain, 0.01, False, lambda seconds: None)
    assert next(steps).path.name == "a.png"
    steps.close()  # As a signal does.
    assert set(json.loads((output / STATE_FILE).read_text())) == {"a.png"}
    assert arrivals(folder, output, plain, nothing, once=True) == [("b.png", "done")]
    assert arrivals(folder, output, plain, nothing, once=True) == []
    assert bright.asked == 2
    png(folder / "a.png", 0)
    os.utime(folder / "a.png", ns=(1, 1))
    assert arrivals(folder, output, plain, nothing, once=True) == [("a.png", "done")]
    assert not np.asarray(Image.open(output / "a_mask.png")).any()


def test_what_is_no_image_and_what_fails(folder, output, segmenter):
    (folder / "note.txt").write_text("not an image")
    (folder / ".hidden.dcm").write_text("not looked at")
    (folder / "empty.dcm").touch()  # Not complete yet.
    dicom_image(folder / "good.dcm", "ultrasound")
    content = (folder / "good.dcm").read_bytes()
    (folder / "broken.dcm").write_bytes(content[:-40])
    found = arrivals(folder, output, segmenter, nothing, nothing)
    assert found == [("broken.dcm", "failed"), ("good.dcm", "done"), ("note.txt", "skipped")]
    assert sorted(path.name for path in output.glob("*.dcm")) == ["good_seg.dcm", "good_sr.dcm"]
    assert arrivals(folder, output, segmenter, nothing) == []
    # A segmentation that arrives is no image.
    (folder / "seg.dcm").write_bytes((output / "good_seg.dcm").read_bytes())
    assert arrivals(folder, output, segmenter, nothing) == [("seg.dcm", "skipped")]


def test_wrong_folders_and_a_damaged_note(folder, output, segmenter):
    with pytest.raises(InputError, match="does not exist; create it"):
        next(watch_folder(folder / "no", output, segmenter))
    with pytest.raises(InputError, match="in the watched folder"):
        next(watch_folder(folder, folder / "out", segmenter))
    output.mkdir()
    for text in ("[", '{"a": 1}', "[1]"):
        (output / STATE_FILE).write_text(text)
        with pytest.raises(InputError, match="is damaged; remove it"):
            next(watch_folder(folder, output, segmenter))
