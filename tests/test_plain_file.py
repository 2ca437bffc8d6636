"""What is no file is neither waited for nor read without end, by any reader."""

import os
import socket
import sys

import pytest

from keras_espmedsam._plain_file import check_plain_file, no_file, read_plain_file
from keras_espmedsam.converters.reader import read_checkpoint
from keras_espmedsam.data.images import read_image
from keras_espmedsam.data.index import read_index
from keras_espmedsam.data.splits import read_splits
from keras_espmedsam.distillation.feature_store import FeatureStore
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measurement_log import MeasurementLog, read_log
from keras_espmedsam.export.formats.export_format import format_of
from keras_espmedsam.training.config.settings import Settings, load_settings
from keras_espmedsam.training.run.folder_lock import only_program
from keras_espmedsam.training.run.run_state import read_state

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")


@pytest.fixture(params=["pipe", "socket", "folder", "device", "link to itself"])
def odd(request, tmp_path):
    """A path that can be no file, and what is said of it."""
    path = tmp_path / "odd.pth"
    if request.param == "pipe":
        os.mkfifo(path)
    elif request.param == "folder":
        path.mkdir()
    elif request.param == "device":
        path.symlink_to("/dev/full")  # Whoever reads it gets zeros without end.
    elif request.param == "link to itself":
        path.symlink_to(path)
        return path, "symbolic links"
    else:
        # By a short name: a socket's may have some hundred characters.
        here = os.open(tmp_path, os.O_RDONLY)
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(f"/proc/self/fd/{here}/odd.pth" if os.path.exists("/proc/self") else str(path))
        os.close(here)
    return path, f"a {request.param}"


READERS = [
    read_index,
    lambda path: read_splits(path, "lung"),
    lambda path: load_settings(Settings, path),
    read_checkpoint,
    read_image,
    read_log,
    MeasurementLog,
]


@pytest.mark.parametrize("read", READERS)
def test_each_reader_says_what_it_is(odd, read):
    path, said = odd
    with pytest.raises(InputError, match=said):
        read(path)
    assert os.path.lexists(path)


@pytest.mark.parametrize("read", [read_index, load_settings, read_checkpoint, MeasurementLog])
@pytest.mark.parametrize("name", ["a" * 300 + ".pth", "gone/a.pth", "a\udcff\n.pth"])
def test_names_that_nothing_has(tmp_path, read, name):
    arguments = (Settings,) if read is load_settings else ()
    if read is MeasurementLog and "\n" in name:
        return  # It is made.
    with pytest.raises(InputError):
        read(*arguments, tmp_path / name)


def test_the_state_of_a_run_and_its_lock(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is not the state of a run"):
        read_state(tmp_path / "pipe")
    with pytest.raises(InputError, match="cannot be written: it is a pipe"):
        with only_program(tmp_path, "pipe"):
            pass


@pytest.mark.parametrize("name", ["about.json", "entries.jsonl", "lock"])
def test_a_cache_of_features(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="cache"):
        with FeatureStore(tmp_path, {}, {"embedding": (2,)}).writing():
            pass


def test_a_pipe_with_a_writer_is_refused_too(tmp_path):
    reading, writing = os.pipe()
    try:
        os.write(writing, b"split,modality,dataset,image,mask\n")
        with pytest.raises(InputError, match="it is a pipe; save its output as a file"):
            read_index(f"/dev/fd/{reading}")
    finally:
        os.close(reading)
        os.close(writing)


def test_no_more_is_read_than_there_may_be(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"1234")
    assert read_plain_file(path, 4) == b"1234"
    with pytest.raises(OSError, match="more than 3 bytes"):
        read_plain_file(path, 3)


def test_an_index_without_end(tmp_path):
    path = tmp_path / "index.csv"
    with path.open("wb") as file:
        file.truncate(2**40)  # Holes: nothing of it is on the disk.
    for read in READERS[:2]:
        with pytest.raises(InputError, match="more than 256 MiB"):
            read(path)


def test_files(tmp_path):
    (tmp_path / "a").touch()
    (tmp_path / "b").symlink_to("a")
    assert no_file(tmp_path / "b") is None
    check_plain_file(tmp_path / "b")
    with pytest.raises(FileNotFoundError):
        no_file(tmp_path / "c")


def test_a_preset_of_a_name_that_is_too_long_is_no_artefact():
    assert format_of("a" * 300) is None
    assert format_of("a" * 300 + ".onnx").name == "onnx"
