"""A preset is whole or not there, also where another one was."""

import os
import types

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.checksums import CHECKSUMS_FILE, check_checksums
from keras_espmedsam.hub.write_preset import checked_output, replaced_preset, write_preset


def save(folder, text):
    """What stands for saving a model: its configuration and its weights."""
    with replaced_preset(folder) as new:
        (new / "config.json").write_text(f'"{text}"')
        (new / "model.weights.h5").write_text(text)


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != CHECKSUMS_FILE}


def test_a_preset_takes_the_place_of_another(tmp_path):
    folder = tmp_path / "preset"
    save(folder, "old")
    (folder / "README.md").write_text("a card")
    (folder / "preprocessor.json").write_text("{}")
    save(folder, "new")
    assert contents(folder) == {
        "config.json": '"new"',
        "model.weights.h5": "new",
        "README.md": "a card",
        "preprocessor.json": "{}",
    }
    check_checksums(folder)
    assert "preprocessor.json" in (folder / CHECKSUMS_FILE).read_text()
    assert os.listdir(tmp_path) == ["preset"]


def test_what_fails_leaves_the_older_one(tmp_path):
    folder = tmp_path / "preset"
    save(folder, "old")
    before = contents(folder)
    with pytest.raises(RuntimeError), replaced_preset(folder) as new:
        (new / "config.json").write_text("half")
        raise RuntimeError
    with pytest.raises(InputError, match=r"cannot be written to .*No space left on device"):
        with replaced_preset(folder) as new:
            (new / "config.json").write_text("half")
            raise OSError(28, "No space left on device")
    assert contents(folder) == before
    check_checksums(folder)
    assert os.listdir(tmp_path) == ["preset"]


def test_what_a_killed_program_left_beside_is_removed(tmp_path):
    for name in (".writing-held-ab_d3fgh", "preset"):
        (tmp_path / name).mkdir()
    (tmp_path / "preset" / ".writing-held-ab_d3fgh").mkdir()
    checked_output(tmp_path / "preset")
    assert [path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")] == ["preset"]


@pytest.mark.parametrize("function", [checked_output, save])
def test_an_empty_path_is_refused(function):
    with pytest.raises(InputError, match="Received an empty path"):
        function("", *(["x"] if function is save else []))


def test_an_output_is_new_or_empty_and_can_be_written(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(InputError, match="is not empty, and nothing is overwritten"):
        checked_output(tmp_path)
    with pytest.raises(InputError, match="is a file; give a folder"):
        checked_output(tmp_path / "a")
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\); give another"):
        checked_output(tmp_path / "a" / "b")
    assert checked_output(tmp_path / "b" / "c") == tmp_path / "b" / "c"
    assert os.listdir(tmp_path) == ["a"]


def test_a_preset_of_a_command_is_written_whole(tmp_path):
    segmenter = types.SimpleNamespace(
        modalities=("fundus",),
        count_params=lambda: 1,
        backbone=types.SimpleNamespace(count_params=lambda: 7),
        save_to_preset=lambda folder: save(folder, "new"),
    )
    said = write_preset(segmenter, checked_output(tmp_path / "preset"))
    assert said == f"Wrote the preset {tmp_path / 'preset'}: fundus; 7 parameters."
    assert contents(tmp_path / "preset") == {"config.json": '"new"', "model.weights.h5": "new"}
    assert os.listdir(tmp_path) == ["preset"]
    with pytest.raises(InputError, match="cannot be written"):
        write_preset(segmenter, tmp_path / "preset")
