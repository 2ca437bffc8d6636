"""Files and folders that are complete or not there, whatever ends the program that writes them."""

import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from keras_espmedsam._files import (
    PREFIX,
    alone_in,
    atomic_folder,
    atomic_folders,
    atomic_path,
    carry_over,
    check_space,
    check_writable,
    locked,
    remove_leftovers,
    replace_folder,
    replaced_folders,
    writing_folder,
)

WRITE = """
import os, sys, time
from keras_espmedsam._files import atomic_path
with atomic_path(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print("written", flush=True)
    {then}
"""


def started(path, then):
    """A program that is in the middle of writing `path`."""
    command = [sys.executable, "-c", WRITE.format(then=then), str(path)]
    program = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert program.stdout.readline()
    return program


def killed(path):
    """Kill a program in the middle of writing `path`."""
    program = started(path, "os.kill(os.getpid(), 9)")
    program.communicate()


def tree(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }


class TestFile:
    @pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a.weights.h5", "a", ".a", "ä b\n.txt"])
    def test_it_is_written_under_a_name_that_ends_alike(self, tmp_path, name):
        with atomic_path(tmp_path / "new" / name) as temporary:
            assert temporary.name.endswith(
                ".nii.gz" if "nii" in name else ".weights.h5" if "h5" in name else temporary.suffix
            )
            assert temporary.is_file()
            temporary.write_text("right")
            assert not (tmp_path / "new" / name).exists()
        assert tree(tmp_path) == {f"new/{name}": "right"}
        assert os.listdir(tmp_path / "new") == [name]

    def test_what_was_there_stays_when_writing_fails(self, tmp_path):
        (tmp_path / "a.txt").write_text("old")
        with pytest.raises(RuntimeError), atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError
        assert tree(tmp_path) == {"a.txt": "old"}
        assert os.listdir(tmp_path) == ["a.txt"]

    def test_it_can_be_read_by_those_who_may_read_other_files(self, tmp_path):
        (tmp_path / "other").touch()
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_text("x")
        assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode

    def test_many_threads_write_one_file(self, tmp_path):
        def write(number):
            for _ in range(5):
                with atomic_path(tmp_path / "a.txt") as temporary:
                    temporary.write_text(str(number) * 1000)
                remove_leftovers(tmp_path)

        threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set((tmp_path / "a.txt").read_text())) == 1
        assert os.listdir(tmp_path) == ["a.txt"]


class TestLeftovers:
    @pytest.mark.parametrize("name", ["a.png", "a.nii.gz", "a"])
    def test_of_a_killed_program_go(self, tmp_path, name):
        killed(tmp_path / name)
        (left,) = os.listdir(tmp_path)
        assert left.startswith(PREFIX)
        remove_leftovers(tmp_path)
        assert os.listdir(tmp_path) == []

    def test_of_a_program_at_work_stay_until_it_ends(self, tmp_path):
        program = started(tmp_path / "a.png", "time.sleep(60)")
        try:
            long_ago = time.time() - 7 * 86400
            for path in tmp_path.glob(".*"):
                os.utime(path, (long_ago, long_ago))
            remove_leftovers(tmp_path)
            assert len(os.listdir(tmp_path)) == 1
        finally:
            program.send_signal(signal.SIGKILL)
            program.communicate()
        remove_leftovers(tmp_path)
        assert os.listdir(tmp_path) == []

    def test_of_a_killed_program_that_wrote_weights_go_after_a_day(self, tmp_path):
        killed(tmp_path / "a.weights.h5")
        remove_leftovers(tmp_path)
        (left,) = tmp_path.iterdir()
        os.utime(left, (0, 0))
        remove_leftovers(tmp_path)
        assert os.listdir(tmp_path) == []

    def test_weights_that_are_written_stay_whatever_the_clock_says(self, tmp_path, monkeypatch):
        with atomic_path(tmp_path / "a.weights.h5") as temporary:
            # This machine is days ahead of the file server.
            ahead = time.time() + 7 * 86400
            monkeypatch.setattr(time, "time", lambda: ahead)
            remove_leftovers(tmp_path)
            assert temporary.exists()
            with open(temporary, "w") as file:
                assert locked(file)
                os.utime(temporary, (0, 0))
                remove_leftovers(tmp_path)
                assert temporary.exists()

    def test_weights_are_locked_by_their_writer(self, tmp_path):
        with atomic_path(tmp_path / "a.weights.h5") as temporary, open(temporary, "w") as file:
            assert locked(file)

    @pytest.mark.parametrize("folder", [False, True])
    def test_of_version_0_1_0_go_after_a_day(self, tmp_path, folder):
        path = tmp_path / ".writing-ab_d3fgh.png"
        path.mkdir() if folder else path.touch()
        remove_leftovers(tmp_path)
        assert path.exists()
        day_before_yesterday = time.time() - 2 * 86400
        os.utime(path, (day_before_yesterday, day_before_yesterday))
        remove_leftovers(tmp_path)
        assert not path.exists()

    def test_go_at_once_where_nobody_else_writes(self, tmp_path):
        (tmp_path / ".writing-ab_d3fgh.png").touch()
        remove_leftovers(tmp_path, alone=True)
        assert os.listdir(tmp_path) == []

    def test_what_others_named_stays(self, tmp_path):
        names = [".writing-", ".writing-my-novel.txt", "writing-ab_d3fgh.png", ".writing-desk"]
        for name in names:
            (tmp_path / name).touch()
            os.utime(tmp_path / name, (0, 0))
        remove_leftovers(tmp_path)
        assert sorted(os.listdir(tmp_path)) == sorted(names)
        remove_leftovers(tmp_path, alone=True)
        assert os.listdir(tmp_path) == ["writing-ab_d3fgh.png"]

    def test_a_link_is_not_followed(self, tmp_path):
        (tmp_path / "kept").mkdir()
        (tmp_path / "kept" / "a").touch()
        (tmp_path / ".writing-held-ab_d3fgh").symlink_to(tmp_path / "kept")
        remove_leftovers(tmp_path)
        remove_leftovers(tmp_path, alone=True)
        assert (tmp_path / "kept" / "a").exists()

    def test_of_no_folder(self, tmp_path):
        remove_leftovers(tmp_path / "none")


class TestFolder:
    @pytest.mark.parametrize("before", [None, "empty"])
    def test_it_is_there_when_it_is_whole(self, tmp_path, before):
        target = tmp_path / "preset"
        if before:
            target.mkdir()
        with atomic_folder(target) as temporary:
            (temporary / "deep").mkdir()
            (temporary / "deep" / "a").write_text("right")
            assert not list(target.glob("*"))
        assert tree(tmp_path) == {"preset/deep/a": "right"}
        assert os.listdir(tmp_path) == ["preset"]

    def test_what_holds_something_is_refused_beforehand(self, tmp_path):
        (tmp_path / "a").write_text("x")
        with pytest.raises(OSError, match="is not empty"), atomic_folder(tmp_path):
            raise AssertionError("not reached")
        with pytest.raises(OSError, match="is a file"), atomic_folder(tmp_path / "a", replace=True):
            raise AssertionError("not reached")
        assert tree(tmp_path) == {"a": "x"}

    @pytest.mark.parametrize("way", ["exchange", "two steps", "link", "working folder", "mount"])
    @pytest.mark.parametrize("keep", [False, True])
    def test_it_takes_the_place_of_another(self, tmp_path, monkeypatch, way, keep):
        target = tmp_path / "preset"
        for name in ("old/a", "both/a", "b"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_text("old")
        (target / "link").symlink_to("both")
        given = target
        if way == "two steps":
            monkeypatch.setattr(replaced_folders, "_exchanged", lambda *paths: False)
        elif way == "link":
            given = tmp_path / "given"
            given.symlink_to(target)
        elif way == "working folder":
            monkeypatch.chdir(target / "both" if keep else target)
        elif way == "mount":
            monkeypatch.setattr(os.path, "ismount", lambda path: path == target)
        with atomic_folder(given, replace=True) as temporary:
            (temporary / "both").mkdir()
            (temporary / "both" / "a").write_text("new")
            (temporary / "c").write_text("new")
            if keep:
                carry_over(given, temporary)
            assert tree(target)["both/a"] == "old"
        found = tree(target)
        expected = {"both/a": "new", "c": "new"} | ({"old/a": "old", "b": "old"} if keep else {})
        assert found == expected
        assert (target / "link").is_symlink() == keep
        assert not list(tmp_path.glob(".*")) and not list(target.glob(".*"))
        if way == "working folder":
            assert os.path.samefile(os.getcwd(), target / "both" if keep else target)

    def test_what_was_there_stays_when_writing_fails(self, tmp_path):
        (tmp_path / "preset").mkdir()
        (tmp_path / "preset" / "a").write_text("old")
        with pytest.raises(RuntimeError), atomic_folder(tmp_path / "preset", replace=True) as new:
            (new / "a").write_text("half")
            raise RuntimeError
        assert tree(tmp_path) == {"preset/a": "old"}

    def test_one_of_a_containers_lower_layer_is_replaced_file_by_file(self, tmp_path, monkeypatch):
        (tmp_path / "a" / "old").mkdir(parents=True)

        def of_two_layers(new, path):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

        monkeypatch.setattr(atomic_folders, "replace_folder", of_two_layers)
        with atomic_folder(tmp_path / "a", replace=True) as new:
            (new / "config.json").write_text("new")
        assert os.listdir(tmp_path) == ["a"]
        assert os.listdir(tmp_path / "a") == ["config.json"]

    def test_what_came_there_meanwhile_stays(self, tmp_path):
        with pytest.raises(OSError, match="is not empty"):
            with atomic_folder(tmp_path / "preset") as new:
                (new / "a").write_text("new")
                (tmp_path / "preset").mkdir()
                (tmp_path / "preset" / "a").write_text("another's")
        assert tree(tmp_path) == {"preset/a": "another's"}

    def test_one_that_was_killed_between_two_steps_is_put_back(self, tmp_path):
        (tmp_path / ".replaced-preset").mkdir()
        (tmp_path / ".replaced-preset" / "a").write_text("old")
        with pytest.raises(RuntimeError), atomic_folder(tmp_path / "preset", replace=True):
            raise RuntimeError
        assert tree(tmp_path) == {"preset/a": "old"}

    def test_killed_at_any_moment_it_is_the_old_or_the_new(self, tmp_path):
        code = (
            "import sys; from keras_espmedsam._files import atomic_folder\n"
            "for i in range(100000):\n"
            "    with atomic_folder(sys.argv[1], replace=True) as new:\n"
            "        [(new / str(n)).write_text(str(i)) for n in range(3)]\n"
            "    print(i, flush=True)"
        )
        for pause in (0.0, 0.001, 0.004):
            command = [sys.executable, "-c", code, str(tmp_path / "preset")]
            program = subprocess.Popen(command, stdout=subprocess.PIPE)
            program.stdout.readline()
            time.sleep(pause)
            program.kill()
            program.communicate()
            found = tree(tmp_path / "preset")
            assert sorted(found) == ["0", "1", "2"] and len(set(found.values())) == 1
            remove_leftovers(tmp_path)
            assert os.listdir(tmp_path) == ["preset"]

    def test_it_can_be_entered_by_those_who_may_enter_other_folders(self, tmp_path):
        (tmp_path / "other").mkdir()
        with atomic_folder(tmp_path / "preset"):
            pass
        assert (tmp_path / "preset").stat().st_mode == (tmp_path / "other").stat().st_mode
        (tmp_path / "preset").chmod(0o2770)
        (tmp_path / "preset" / "a").touch()
        with atomic_folder(tmp_path / "preset", replace=True):
            pass
        assert (tmp_path / "preset").stat().st_mode & 0o777 == 0o770


class TestWritable:
    def test_nothing_is_left(self, tmp_path):
        check_writable(tmp_path / "a" / "b")
        assert os.listdir(tmp_path) == []

    def test_below_a_file_nothing_can_be_written(self, tmp_path):
        (tmp_path / "a").touch()
        with pytest.raises(OSError):
            check_writable(tmp_path / "a" / "b")

    def test_what_the_system_makes_cannot_be_written(self):
        with pytest.raises(OSError):
            check_writable("/proc/none")


def test_one_program_holds_a_file(tmp_path):
    with open(tmp_path / "a", "a") as first, open(tmp_path / "a", "a") as second:
        assert locked(first)
        assert not locked(second)


def test_on_windows_msvcrt_locks_one_byte(tmp_path, monkeypatch):
    held = []

    def locking(handle, mode, number):
        if held:
            raise OSError(errno.EACCES, "Permission denied")
        held.append((mode, number))

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with open(tmp_path / "a", "a") as first, open(tmp_path / "a", "a") as second:
        assert locked(first)
        assert not locked(second)
    assert held == [(2, 1)]


def test_on_windows_folders_need_no_lock_to_be_entered(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "platform", "win32")
    with alone_in(tmp_path, seconds=0), alone_in(tmp_path, seconds=0):
        assert not list(tmp_path.iterdir())


def test_one_at_a_time_is_alone_in_a_folder_and_leaves_nothing(tmp_path):
    inside, most = [], []

    def enter():
        with alone_in(tmp_path):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.02)
            inside.pop()

    threads = [threading.Thread(target=enter) for _ in range(5)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    if sys.platform != "win32":
        assert most == [1] * 5
    assert os.listdir(tmp_path) == []


def test_nobody_is_waited_for_without_end(tmp_path):
    start = time.monotonic()
    with alone_in(tmp_path), alone_in(tmp_path, seconds=0.2):
        assert time.monotonic() - start < 10


def test_a_folder_to_write_in_is_no_leftover_and_goes_at_the_end(tmp_path):
    with writing_folder(tmp_path) as folder:
        (folder / "eye.onnx").write_text("half")
        remove_leftovers(tmp_path)
        assert sys.platform == "win32" or (folder / "eye.onnx").read_text() == "half"
    assert os.listdir(tmp_path) == []


def test_a_folder_takes_the_place_of_another(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).write_text(name)
    replace_folder(tmp_path / "new", tmp_path / "old")
    assert os.listdir(tmp_path / "old") == ["new"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_a_pipe_and_a_device_are_written_to_and_stay_what_they_are(tmp_path):
    pipe = tmp_path / "report.json"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with atomic_path(pipe) as temporary:
            assert temporary.suffix == ".json"
            temporary.write_text("{}")
        assert os.read(reader, 100) == b"{}"
    finally:
        os.close(reader)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]
    # As `--output /dev/null`: by a link, so that the machine's own is not lost if this breaks.
    link = tmp_path / "null.json"
    link.symlink_to(os.devnull)
    with atomic_path(link) as temporary:
        temporary.write_text("{}")
    assert link.is_symlink() and link.is_char_device()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no sockets with a name")
def test_a_socket_is_refused_and_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # The name of a socket is short.
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("report.json")
        with pytest.raises(OSError, match="expected a file"), atomic_path("report.json"):
            pass
    assert Path("report.json").is_socket()


def test_room_is_asked_of_the_disk_where_the_file_system_reserves_none(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "unsupported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    check_space(tmp_path, 1)
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        check_space(tmp_path, 1 << 60)
    assert os.listdir(tmp_path) == []
