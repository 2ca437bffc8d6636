"""Ctrl-C and the signals of job schedulers: what is done is told, and nothing is half-written."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from keras_espmedsam.cli import segment
from keras_espmedsam.cli.interruption import Terminated, exit_code, told

PROGRAM = """
import os, sys, time
from pathlib import Path
from keras_espmedsam._files import atomic_path
from keras_espmedsam.cli import app, main
from keras_espmedsam.cli.console import errors_reported

def command():
    with errors_reported(lambda: "2 of 5 files are done."), atomic_path("a.txt") as temporary:
        temporary.write_text("half")
        print("ready", flush=True)
        time.sleep(60)

app.app = lambda prog_name: __import__("typer").run(command)
sys.argv = ["x"]
main.main()
"""


def _as_in_a_terminal():
    """These tests may be run in the background, where a program is told to ignore both."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        (signal.SIGINT, 130, "Interrupted: 2 of 5 files are done.\n"),
        (signal.SIGTERM, 143, "Ended by SIGTERM: 2 of 5 files are done.\n"),
        (getattr(signal, "SIGHUP", None), 129, "Ended by SIGHUP: 2 of 5 files are done.\n"),
    ],
)
def test_a_command_tells_what_is_done_and_tidies_up(tmp_path, number, code, said):
    program = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        preexec_fn=_as_in_a_terminal,
    )
    assert program.stdout.readline() == "ready\n"
    program.send_signal(number)
    _, errors = program.communicate(timeout=30)
    assert (program.returncode, errors) == (code, said)
    assert os.listdir(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGHUP")
def test_a_signal_that_is_ignored_stays_so():
    code = (
        "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from keras_espmedsam.cli.interruption import raise_at_signals\n"
        "raise_at_signals(); assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows has no fork")
def test_a_forked_worker_ends_at_once():
    code = (
        "import os, signal, time\n"
        "from keras_espmedsam.cli.interruption import raise_at_signals\n"
        "raise_at_signals()\n"
        "child = os.fork()\n"
        "if not child: time.sleep(60); os._exit(0)\n"
        "time.sleep(0.5)\n"
        "os.kill(child, signal.SIGTERM)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


LOST = """
import os, signal, sys, time
from keras_espmedsam.cli import app, main
from keras_espmedsam.cli.console import errors_reported
from keras_espmedsam.cli.interruption import check_interrupted
from keras_espmedsam.errors import InputError

number = int(sys.argv[1])

def send():
    os.kill(os.getpid(), number)
    for _ in range(1000):
        pass

class Freed:
    def __del__(self):
        send()

def dropped():
    with errors_reported():
        Freed()
        time.sleep(30)

def caught():
    with errors_reported():
        try:
            send()
        except BaseException:
            pass
        check_interrupted()

def turned():
    with errors_reported():
        try:
            send()
        except BaseException:
            raise InputError("no such module")

def before_it_begins():
    send()

def done():
    try:
        send()
    except BaseException:
        pass

command = globals()[sys.argv[2]]
app.app = lambda prog_name: __import__("typer").run(command)
del sys.argv[1:]
main.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("where", ["dropped", "caught", "turned", "before_it_begins"])
def test_an_interruption_that_a_library_or_python_drops_is_not_lost(number, where):
    done = subprocess.run(
        [sys.executable, "-c", LOST, str(int(number)), where],
        capture_output=True,
        text=True,
        timeout=20,
        preexec_fn=_as_in_a_terminal,
    )
    assert done.returncode == 128 + number
    assert done.stderr.strip().endswith(": incomplete results are not kept.")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(os.name == "nt", reason="Windows sends no such signals")
def test_a_command_that_ended_all_the_same_says_nothing_of_an_interruption():
    done = subprocess.run(
        [sys.executable, "-c", LOST, str(int(signal.SIGTERM)), "done"],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


class Stopped:
    """A segmenter that is stopped at its third batch."""

    def __init__(self, segmenter, stop):
        self.segmenter, self.stop, self.calls = segmenter, stop, 0
        self.modalities, self.intensity = segmenter.modalities, segmenter.intensity

    def segment(self, *arguments, **options):
        self.calls += 1
        if self.calls == 3:
            raise self.stop
        return self.segmenter.segment(*arguments, **options)


@pytest.mark.parametrize(
    ("stop", "code", "begin"),
    [
        (KeyboardInterrupt(), 130, "Interrupted: "),
        (Terminated(signal.SIGTERM), 143, "Ended by SIGTERM: "),
    ],
)
def test_segment_tells_and_lists_what_is_done(
    run, image, segmenter, monkeypatch, stop, code, begin
):
    for name in "abcde":
        image(f"{name}.png")
    stopped = Stopped(segmenter, stop)
    monkeypatch.setattr(segment, "load_segmenter", lambda *arguments: stopped)
    result = run("segment", *(f"{c}.png" for c in "abcde"), "--modality=xray", "--batch-size=1")
    assert result.exit_code == code
    written = sorted(path.name for path in Path("masks").iterdir())
    assert written == sorted(Path(line).name for line in result.stdout.split())
    assert f"{begin}{len(written)} of 5 files are segmented into masks" in result.stderr
    assert "Traceback" not in result.stderr and len(written) in (1, 2)


def test_exit_codes_are_those_of_a_shell():
    assert exit_code(KeyboardInterrupt()) == 130
    assert exit_code(Terminated(signal.SIGTERM)) == 143
    assert told(Terminated(signal.SIGTERM), "x.") == "Ended by SIGTERM: x."
