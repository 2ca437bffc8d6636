import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["segment", "evaluate", "presets", "convert", "train", "distill", "export"]),
        (["segment"], ["Examples", "--modality", "--recognizer", "--overlay", "--max-pixels"]),
        (["evaluate"], ["Examples", "--data", "--split", "--paper-metrics"]),
        (["calibrate"], ["Examples", "--data", "--recall", "--false-discovery-rate", "--bias"]),
        (["presets"], ["Examples"]),
        (["train"], ["Examples", "CONFIG.yaml", "--set", "--output", "--strict"]),
        (["distill"], ["Examples", "CONFIG.yaml", "--set", "--output", "--strict"]),
        (["add-modality"], ["Examples", "NAME", "--data", "--init-from", "--output", "--strict"]),
        (["add-target"], ["Examples", "MODALITY", "--data", "--first", "--inside", "--output"]),
        (["export"], ["Examples", "--format", "--any-size", "--precision", "--calibration"]),
        (["convert"], ["espmedsam", "mobilesam"]),
        (["convert", "espmedsam"], ["Examples", "--modality", "--output"]),
        (["convert", "mobilesam"], ["Example", "--output"]),
    ],
)
def test_help(run, monkeypatch, arguments, words):
    monkeypatch.setenv("COLUMNS", "120")
    result = run(*arguments, "--help")
    assert result.exit_code == 0
    for word in words:
        assert word in result.stdout


def test_help_does_not_wait_for_keras():
    code = (
        "import sys\n"
        "from keras_espmedsam.cli.app import app\n"
        "try: app(['--help'])\n"
        "finally: assert 'keras' not in sys.modules"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "segment" in done.stdout
    assert time.monotonic() - start < 20


def test_the_app_is_found_where_it_was():
    from keras_espmedsam.cli import app, main

    assert main.app is app.app
    with pytest.raises(AttributeError, match="no attribute 'apps'"):
        _ = main.apps


def test_no_arguments_show_the_help(run):
    result = run()
    assert result.exit_code == 2
    assert "Usage" in result.output


@pytest.mark.skipif(os.name == "nt", reason="Windows removes no folder that is in use")
@pytest.mark.parametrize(
    "arguments", [["presets"], ["segment", "eye.png"], ["segment", "/eye.png"], ["--help"]]
)
def test_a_working_folder_that_was_removed_is_named(tmp_path, arguments):
    gone = tmp_path / "gone"
    gone.mkdir()
    command = [sys.executable, "-m", "keras_espmedsam.cli.main", *arguments]
    shell = ["sh", "-c", 'cd "$0" && rmdir "$0" && exec "$@"', str(gone), *command]
    done = subprocess.run(shell, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "error: The working folder cannot be used (No such file or directory); perhaps it "
        "was removed. Change to another folder.\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "Interrupted: "), (signal.SIGTERM, 143, "Ended by SIGTERM: ")],
)
def test_a_signal_while_the_commands_are_imported_is_told(number, code, words):
    script = (
        "import os, signal, sys\n"
        # Tests that a shell runs in the background are started with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupting:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'keras_espmedsam.cli.evaluate':\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Interrupting())\n"
        "sys.argv = ['espmedsam', '--help']\n"
        "from keras_espmedsam.cli.main import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr == f"{words}incomplete results are not kept.\n"
