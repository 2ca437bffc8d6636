"""From paths to files, whatever lies there."""

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import expand_inputs


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a.png", "z.png"):
        Image.new("L", (6, 4), 9).save(folder / name)
    return folder


def refusal(path):
    with pytest.raises(InputError) as caught:
        inspect_image_file(path)
    return str(caught.value)


def test_what_is_no_file_is_named_and_the_rest_is_there(folder):
    os.mkfifo(folder / "pipe.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "device.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(folder / "s.png"))
        files = expand_inputs(folder).files
        names = [file.name for file in files]
        assert names == [
            "a.png",
            "device.png",
            "gone.png",
            "loop.png",
            "pipe.png",
            "s.png",
            "z.png",
        ]
        said = [refusal(file) for file in files[1:-1]]
    for sentence, words in zip(
        said,
        (
            *("is a device", "is a broken link", "cannot be read: "),
            *("is a pipe", "is a socket"),
        ),
        strict=True,
    ):
        assert words in sentence
    assert [inspect_image_file(files[i]).size for i in (0, -1)] == [(4, 6), (4, 6)]


@pytest.mark.parametrize("name", ["x" * 300 + ".png", "a/" * 3000 + "x.png", "nul\0l.png"])
def test_what_cannot_be_a_path_is_kept_and_told(folder, name):
    files = expand_inputs([folder / "a.png", name, str(folder / "z.png")]).files
    assert [file.name for file in files] == ["a.png", Path(name).name, "z.png"]
    assert "cannot be" in refusal(files[1])


def test_a_folder_that_cannot_be_read_is_kept_and_told(folder, monkeypatch):
    (folder / "locked").mkdir()
    scan = os.scandir

    def scandir(path):
        if str(path).endswith("locked"):  # root may read any folder
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    files = expand_inputs(folder).files
    assert sorted(file.name for file in files) == ["a.png", "locked", "z.png"]
    assert "locked cannot be read: Permission denied." in refusal(folder / "locked")


@pytest.mark.parametrize("empty", ["", " ", b"", "\t"])
def test_an_empty_path_is_refused(folder, monkeypatch, empty):
    monkeypatch.chdir(folder)
    for paths in (empty, [empty], ["a.png", empty]):
        with pytest.raises(InputError, match="an empty path"):
            expand_inputs(paths)
    assert len(expand_inputs(".").files) == 2


def test_a_file_that_is_removed_meanwhile(folder):
    file = inspect_image_file(folder / "a.png")
    (folder / "a.png").unlink()
    with pytest.raises(InputError, match=r"a\.png was removed or renamed while it was being read"):
        next(file.images())


def test_ten_names_of_one_file_are_one(folder):
    (folder / "b.png").symlink_to("a.png")
    assert [file.name for file in expand_inputs(folder).files] == ["a.png", "z.png"]
