"""Commands whose stdout or stderr cannot be written do their work all the same."""

import os
import subprocess
import sys

import pytest

COMMAND = [sys.executable, "-m", "keras_espmedsam.cli.main"]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is Linux's")
SHELL = pytest.mark.skipif(os.name == "nt", reason="needs a shell that can close a stream")


def in_shell(redirection, *arguments):
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND, *arguments],
        capture_output=True,
        text=True,
    )


@LINUX
@pytest.mark.parametrize("arguments", [("presets",), ("--help",), ("segment", "--help")])
def test_a_full_stdout_is_told_in_one_sentence(arguments):
    done = in_shell("> /dev/full", *arguments)
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "error: stdout cannot be written: No space left on device. Printed output is lost; "
        "files are still written."
    ]


@SHELL
def test_a_pipe_that_nobody_reads_is_told_in_one_sentence():
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run([*COMMAND, "presets"], stdout=write, stderr=subprocess.PIPE, text=True)
    os.close(write)
    assert done.returncode == 1
    assert done.stderr.startswith("error: stdout cannot be written: Broken pipe.")
    assert done.stderr.count("\n") == 1


@SHELL
@pytest.mark.parametrize("redirection", [">&-", "<&-", ">&- <&-"])
def test_a_closed_stdout_is_nobodys(redirection):
    done = in_shell(redirection, "presets")
    assert (done.returncode, done.stderr) == (0, "")


@LINUX
@pytest.mark.parametrize("redirection", ["2>&-", "2> /dev/full"])
def test_stderr_that_cannot_be_written_changes_no_exit_code(redirection):
    done = in_shell(redirection, "presets")
    assert done.returncode == 0 and "espmedsam_nano_256" in done.stdout
    assert in_shell(redirection, "presets", "no_such_preset").returncode == 2


@SHELL
def test_a_file_does_not_get_the_number_of_a_closed_stream():
    code = (
        "import os, sys\n"
        "from keras_espmedsam.cli.standard_streams import guard_streams\n"
        "guard_streams()\n"
        "sys.exit(os.open(os.devnull, os.O_RDONLY) < 3)"
    )
    command = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(command).returncode == 0


def test_characters_that_a_code_page_lacks_are_printed_as_their_codes(tmp_path):
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "README.md").write_text("An eye: 眼, naïve", encoding="utf-8")
    done = subprocess.run(
        [*COMMAND, "presets", str(tmp_path)],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
    )
    assert done.returncode == 0
    assert "An eye: \\u773c, naïve" in done.stdout.decode("cp1252")
