"""What a list of checksums may say, and what it must."""

import hashlib

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.checksums import (
    CHECKSUMS_FILE,
    check_checksums,
    unlisted_files,
    write_checksums,
)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "preset"
    (folder / "assets").mkdir(parents=True)
    for name in ("config.json", "task.json", "notes.json", "assets/words.json"):
        (folder / name).write_text("{}")
    (folder / "model.weights.h5").write_bytes(b"weights")
    write_checksums(folder)
    return folder


def _line(content, name):
    return f"{hashlib.sha256(content).hexdigest()}  {name}\n"


def test_what_was_written_is_right(folder):
    check_checksums(folder)
    assert unlisted_files(folder) == []
    lines = (folder / CHECKSUMS_FILE).read_text().splitlines()
    assert lines[0] == _line(b"{}", "assets/words.json").strip() and len(lines) == 5


@pytest.mark.parametrize("name", ["config.json", "assets/words.json", "model.weights.h5"])
def test_a_changed_or_missing_file_is_named(folder, name):
    (folder / name).write_bytes(b"other")
    with pytest.raises(InputError, match=rf"{name} .* damaged or changed"):
        check_checksums(folder)
    (folder / name).unlink()
    with pytest.raises(InputError, match=f"lacks the file {name}"):
        check_checksums(folder)


def test_without_weights_these_alone_are_not_compared(folder):
    (folder / "model.weights.h5").write_bytes(b"other")
    check_checksums(folder, weights=False)
    (folder / "task.json").write_bytes(b"other")
    with pytest.raises(InputError, match=r"task\.json"):
        check_checksums(folder, weights=False)


@pytest.mark.parametrize("left_out", ["config.json", "task.json", "model.weights.h5"])
def test_what_is_loaded_must_be_listed(folder, left_out):
    sums = folder / CHECKSUMS_FILE
    lines = sums.read_text().splitlines(keepends=True)
    sums.write_text("".join(line for line in lines if left_out not in line))
    assert unlisted_files(folder) == [left_out]
    with pytest.raises(InputError, match=f"does not name {left_out}"):
        check_checksums(folder)


def test_an_empty_list_is_not_right(folder):
    (folder / CHECKSUMS_FILE).write_text("")
    assert len(unlisted_files(folder)) == 5
    with pytest.raises(InputError, match=r"does not name config\.json"):
        check_checksums(folder)


def test_what_is_not_loaded_need_not_be_listed(folder):
    (folder / "report.json").write_text("{}")
    check_checksums(folder)
    assert unlisted_files(folder) == ["report.json"]


@pytest.mark.parametrize(
    "name",
    [
        *("../secret.json", "assets/../../secret.json", "/etc/passwd", "C:\\secret", "\\\\host\\x"),
        *("..\\secret.json", "a\0b"),
    ],
)
def test_a_list_names_files_of_its_folder_alone(folder, name):
    (folder.parent / "secret.json").write_text("secret")
    with (folder / CHECKSUMS_FILE).open("a") as file:
        file.write(_line(b"no", name))
    with pytest.raises(InputError, match="expected a SHA-256") as error:
        check_checksums(folder)
    assert hashlib.sha256(b"secret").hexdigest()[:12] not in str(error.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no checksum\n", "expected a SHA-256"),
        (b"\xff\xfe", "not UTF-8"),
        (b"#" * 2**21, "more than 1 MiB"),
        (b"0  config.json\n1  config.json\n", "twice"),
        (b"0  \x1b[2J\x1b]0;title\x07x\n", r"lacks the file \\x1b\[2J"),
    ],
    ids=range(5),
)
def test_what_is_no_list_is_one_sentence(folder, content, says):
    (folder / CHECKSUMS_FILE).write_bytes(content)
    with pytest.raises(InputError, match=says) as error:
        check_checksums(folder)
    assert str(error.value).isprintable() and len(str(error.value)) < 500


def test_lists_of_other_programs_are_read(folder):
    sums = folder / CHECKSUMS_FILE
    text = sums.read_text()
    sums.write_bytes(text.replace("  ", " *").replace("\n", "\r\n").encode())
    check_checksums(folder)
    sums.write_text(text.replace("  ", "  ./").upper().replace("./", "./"))
    with pytest.raises(InputError):
        check_checksums(folder)  # File names are as they are written.
    sums.write_text("".join(f"{line[:64].upper()}{line[64:]}\n" for line in text.splitlines()))
    check_checksums(folder)
