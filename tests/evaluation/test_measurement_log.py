import json
import subprocess
import sys

import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.instance_metrics import ObjectMatches
from keras_espmedsam.evaluation.measurement_log import (
    Measurement,
    MeasurementLog,
    file_stamps,
    read_log,
)
from keras_espmedsam.evaluation.target_measures import TargetMeasures

SETTINGS = {"threshold": 0.5, "preset": None}
FIRST = Measurement(0, 0, [1, 2], {"dice": 1 / 3})
SECOND = Measurement(1, 4, [3, 4], {"dice": float("inf")})


def write(path, *batches):
    with MeasurementLog(path) as log:
        log.begin(SETTINGS)
        for batch in batches:
            log.append(batch)


def test_what_is_written_is_read(tmp_path):
    path = tmp_path / "log"
    with MeasurementLog(path) as log:
        assert log.begin(SETTINGS).measured == []
        log.append([FIRST, SECOND], failed=[(2, 0)])
        log.append(reports=["report.json"])
        assert log.count == 2
    content = read_log(path)
    assert content.settings == SETTINGS
    assert content.measured == [FIRST, SECOND]
    assert content.failed == [(2, 0)]
    assert content.reports == ["report.json"]
    assert content.size == path.stat().st_size
    with MeasurementLog(path) as log:
        assert log.begin(SETTINGS).measured == [FIRST, SECOND]
        assert log.count == 2


def test_what_a_kill_cut_is_dropped_wherever_it_cut(tmp_path):
    path = tmp_path / "log"
    write(path, [FIRST], [SECOND])
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        lines = sum(end <= size for end in ends)
        assert len(read_log(path).measured) == max(lines - 1, 0)
        write(path, *[[FIRST], [SECOND]][max(lines - 1, 0) :])
        assert path.read_bytes() == whole


def test_zeros_after_a_crash_are_measured_again(tmp_path):
    path = tmp_path / "log"
    write(path, [FIRST])
    whole = path.read_bytes()
    for damage in (b"\0" * 40 + b"\n", b'{"measured": [[1]]}\n', b"[]\n", b'{"measured": 3}\n'):
        path.write_bytes(whole + damage + whole.splitlines(keepends=True)[1])
        assert read_log(path).measured == [FIRST]
        write(path, [SECOND])
        assert read_log(path).measured == [FIRST, SECOND]


@pytest.mark.parametrize("content", [b"mine", b"mine\n", b"{}\n", b"[1]\n{}\n", b"\n", b"\xff\n"])
def test_a_file_of_something_else_is_left_alone(tmp_path, content):
    path = tmp_path / "log"
    path.write_bytes(content)
    for restart in (False, True):
        with pytest.raises(InputError, match="holds something else"):
            MeasurementLog(path, restart)
    assert path.read_bytes() == content


def test_other_settings_are_named(tmp_path):
    path = tmp_path / "log"
    write(path, [FIRST])
    with MeasurementLog(path) as log:
        with pytest.raises(InputError, match=r"with threshold 0\.5 \(now 0\.4\)\. Repeat"):
            log.begin({**SETTINGS, "threshold": 0.4})
        with pytest.raises(InputError, match=r"with mirror none \(now True\)"):
            log.begin({**SETTINGS, "mirror": True})
        with pytest.raises(InputError, match=r"preset none \(now aaaaaaaaaaaa\.\.\.\)"):
            log.begin({**SETTINGS, "preset": "a" * 64})


def test_a_restart_keeps_the_old_until_there_is_something_new(tmp_path):
    path = tmp_path / "log"
    write(path, [FIRST])
    before = path.read_bytes()
    with MeasurementLog(path, restart=True) as log:
        assert log.begin({"other": 1}).measured == []
        assert log.count == 0
    assert path.read_bytes() == before
    with MeasurementLog(path, restart=True) as log:
        log.begin({"other": 1})
        log.append([SECOND])
    assert read_log(path).settings == {"other": 1}
    assert read_log(path).measured == [SECOND]


def test_a_log_without_measures_does_not_stay(tmp_path):
    path = tmp_path / "log"
    write(path)
    assert not path.exists()
    with MeasurementLog(path) as log:
        log.begin(SETTINGS)
        log.append(failed=[(0, 0)])
    assert not path.exists()


def test_one_program_at_a_time(tmp_path):
    path = tmp_path / "log"
    with MeasurementLog(path) as log:
        log.begin(SETTINGS)
        log.append([FIRST])
        with pytest.raises(InputError, match="Another program is writing"):
            MeasurementLog(path)
    MeasurementLog(path).__exit__()


def test_a_killed_program_leaves_whole_batches_and_no_lock(tmp_path):
    path = tmp_path / "log"
    code = (
        "import os, signal, sys\n"
        "from keras_espmedsam.evaluation.measurement_log import Measurement, MeasurementLog\n"
        f"log = MeasurementLog({str(path)!r})\n"
        f"log.begin({SETTINGS!r})\n"
        "log.append([Measurement(0, 0, [1, 2], {'dice': 1 / 3})])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    if sys.platform == "win32":
        pytest.skip("Windows has no SIGKILL")
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -9
    with MeasurementLog(path) as log:
        assert log.begin(SETTINGS).measured == [FIRST]


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match="cannot be written: No such file"):
        MeasurementLog(tmp_path / "none" / "log")


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
def test_a_full_disk_is_told(tmp_path):
    log = MeasurementLog(tmp_path / "log")
    log.begin(SETTINGS)
    log._file.close()
    log._file = open("/dev/full", "ab", buffering=0)
    with pytest.raises(InputError, match=r"cannot be written to .*log: "):
        log.append([FIRST])
    log._file.close()


def test_stamps_tell_changed_files(tmp_path):
    path = tmp_path / "a"
    path.write_text("1")
    before = file_stamps(path, path)
    assert before == file_stamps(path, path) == json.loads(json.dumps(before))
    path.write_text("12")
    assert file_stamps(path, path) != before
    path.unlink()
    assert file_stamps(path) == [-1, -1]


def test_targets_and_objects_are_kept(tmp_path):
    objects = ObjectMatches((0.25, 1 / 3), (0.75, 0.0), 3, 10, 20)
    found = [
        TargetMeasures("nuclei", {"dice": 1 / 3}, objects),
        TargetMeasures("glands", {"dice": 0.5}),
    ]
    with MeasurementLog(tmp_path / "log") as log:
        log.begin(SETTINGS)
        log.append([Measurement.of((4, 1), [7, 8], one) for one in found])
        assert log.count == 1  # One image, of two targets.
    measured = read_log(tmp_path / "log").measured
    assert [one[:3] for one in measured] == [(4, 1, [7, 8])] * 2
    assert [one.found for one in measured] == found


def test_an_entry_of_version_0_1_0_is_of_the_only_target(tmp_path):
    header = json.dumps({"espmedsam evaluate": SETTINGS})
    (tmp_path / "log").write_text(header + '\n{"measured": [[0, 2, [1, 2], {"dice": 0.5}]]}\n')
    (one,) = read_log(tmp_path / "log").measured
    assert one.found == TargetMeasures("", {"dice": 0.5})
