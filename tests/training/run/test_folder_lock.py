"""A folder is one program's, as long as that lives."""

import os
import signal
import subprocess
import sys

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.run import folder_lock
from keras_espmedsam.training.run.folder_lock import LOCK, RUN_LOCK, only_program

HOLDING = """
import sys, time
from keras_espmedsam._files import locked
with open(sys.argv[1], "a") as file:
    print(locked(file), flush=True)
    time.sleep(60)
"""


def test_others_are_kept_out_until_the_block_ends(tmp_path):
    with only_program(tmp_path):
        with pytest.raises(InputError, match="Another program is training in"):
            with only_program(tmp_path):
                pass
        with only_program(tmp_path, RUN_LOCK):  # Another lock than that of a phase.
            assert {file.name for file in tmp_path.iterdir()} == {LOCK, RUN_LOCK}
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError), only_program(tmp_path):
        raise KeyError
    with only_program(tmp_path):
        pass


def test_a_killed_program_holds_nothing(tmp_path):
    (tmp_path / LOCK).touch()  # Left by one that was killed.
    with only_program(tmp_path):
        pass
    command = [sys.executable, "-c", HOLDING, str(tmp_path / LOCK)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        with pytest.raises(InputError, match="Another program is training in"):
            with only_program(tmp_path):
                pass
        assert (tmp_path / LOCK).exists()
        other.send_signal(signal.SIGTERM if os.name == "nt" else signal.SIGKILL)
    with only_program(tmp_path):
        pass


def test_a_folder_made_for_nothing_is_taken_away(tmp_path):
    folder = tmp_path / "runs" / "new"
    with only_program(folder):
        pass
    assert not folder.exists()
    with only_program(folder):
        (folder / "config.yaml").touch()
    assert [file.name for file in folder.iterdir()] == ["config.yaml"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with only_program(empty):
        pass
    assert empty.is_dir()


def test_a_lock_that_is_taken_away_before_it_is_held_is_taken_anew(tmp_path, monkeypatch):
    """Another program ends between the opening of the file and its locking."""
    seen, locked = [], folder_lock.locked

    def take_away_once(file):
        seen.append(file)
        if len(seen) == 1:
            (tmp_path / LOCK).unlink()
        return locked(file)

    monkeypatch.setattr(folder_lock, "locked", take_away_once)
    with only_program(tmp_path):
        assert len(seen) == 2
        monkeypatch.undo()
        with pytest.raises(InputError, match="Another program"), only_program(tmp_path):
            pass


def test_another_programs_lock_is_not_taken_away(tmp_path):
    """The folder was emptied meanwhile, and another program began there."""
    with only_program(tmp_path):
        (tmp_path / LOCK).unlink()
        (tmp_path / LOCK).touch()
    assert (tmp_path / LOCK).exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has locks everywhere")
def test_on_a_file_system_without_locks_nobody_is_kept_out(tmp_path, monkeypatch):
    import fcntl

    def no_locks(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with only_program(tmp_path), only_program(tmp_path):
        pass


def test_what_is_no_folder_is_told(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file cannot be written: "):
        with only_program(tmp_path / "file"):
            pass
    if os.name != "nt":
        gone = tmp_path / "gone"
        gone.mkdir()
        monkeypatch.chdir(gone)
        gone.rmdir()
        with pytest.raises(InputError, match=r"run cannot be written: No such file"):
            with only_program("run"):
                pass
