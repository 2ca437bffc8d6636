"""bash runs a block, and hands commands of this project to this process."""

import os
from pathlib import Path

import pytest

from tests.docs import shell_blocks, shell_commands


@pytest.fixture
def calls():
    return []


@pytest.fixture
def commands(calls):
    def espmedsam(arguments):
        calls.append((arguments, os.getcwd(), os.environ.get("KERAS_BACKEND")))
        code = 1 if "bad" in arguments else 0
        return code, "done\n", "it is bad\n" if code else ""

    return {"espmedsam": espmedsam}


def test_the_shell_reads_quotes_patterns_and_continued_lines(
    calls, commands, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    for name in ("a.png", "b.png"):
        Path(name).touch()
    out = shell_blocks.run(
        'espmedsam *.png "*.png" \\\n    --output "my masks"  # of all\n'
        "mkdir sub\ncd sub\nKERAS_BACKEND=jax espmedsam | tr a-z A-Z\n",
        commands,
    )
    assert calls == [
        (["a.png", "b.png", "*.png", "--output", "my masks"], str(tmp_path), "torch"),
        ([], str(tmp_path / "sub"), "jax"),
    ]
    assert out == "done\nDONE\n"
    assert os.getcwd() == str(tmp_path) and os.environ["KERAS_BACKEND"] == "torch"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("espmedsam bad", "exit code 1\ndone\nit is bad"),
        ("espmedsam bad\nespmedsam good", "exit code 1"),
        ("espmedsam good  # exit code 1", "stated is exit code 1, and it was 0"),
        ("espmedsam bad  # exit code 2", "stated is exit code 2, and it was 1"),
        ("esmedsam good", "esmedsam: command not found"),
        ("espmedsam bad | cat", "exit code 1"),
    ],
)
def test_a_line_has_to_end_as_stated(text, told, commands):
    with pytest.raises(AssertionError) as error:
        shell_blocks.run(text, commands)
    assert told in str(error.value)


def test_a_stated_exit_code_is_right(commands, calls):
    shell_blocks.run('espmedsam bad \\\n  "$HOME"  # exit code 1\nespmedsam good', commands)
    assert [one[0][0] for one in calls] == ["bad", "good"]


def test_a_console_holds_commands_with_their_output():
    text = "$ espmedsam a \\\n    b\none\ntwo\n$ espmedsam c\n"
    assert shell_blocks.of_console(text) == [
        ("espmedsam a \\\n    b", "one\ntwo"),
        ("espmedsam c", ""),
    ]


@pytest.mark.parametrize(
    ("command", "arguments", "told"),
    [
        ("make", ["test-docs", "BACKEND=jax"], ""),
        ("make", ["demos"], "the Makefile has no target demos"),
        ("pip", ["install", ".[torch,medical]", "--group", "dev"], ""),
        ("pip", ["install", "keras-espmedsam[onnx]"], "no extra onnx"),
        ("pip", ["install", "--group=docs2"], "no group docs2"),
        ("pytest", ["-q", "tests/docs/test_blocks.py::test"], ""),
        ("pytest", ["tests/doc"], "there is no tests/doc"),
        ("python", ["-m", "pytest", "tests/doc"], "there is no tests/doc"),
        ("python", ["-m", "mkdocs2"], "there is no module mkdocs2"),
        ("python", ["benchmarks/speed.py", "--help"], ""),
        ("python", ["benchmarks/tic_sizes.py", "--outputs", "x"], "unrecognized arguments"),
        ("python", ["benchmarks/export.py", "--fast"], "--fast"),
        ("python", ["-c", "import sys; sys.exit(3)"], "exit code 3"),
    ],
)
def test_arguments_of_other_programs_are_checked(command, arguments, told, page_folder):
    commands = shell_commands.table(is_run=False, count=lambda what: None)
    code, _, errors = commands[command](arguments)
    assert (code == 0) == (not told)
    assert told in f"{errors} exit code {code}"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["segment", "eye.png", "--overlay"], ""),
        (["segment", "eye.png", "--overlays"], "No such option"),
        (["segments"], "No such command"),
        (["convert", "espmedsam", "a.pth", "--modality", "x", "--output", "y"], ""),
        (["train", "examples/configs/train.yaml", "--set", "sead=1"], "seed"),
        (["train", "examples/configs/nano_256/labels.yaml", "--set", "seed=1"], ""),
        (["--help"], ""),
    ],
)
def test_arguments_of_the_command_are_checked(arguments, told, page_folder):
    commands = shell_commands.table(is_run=False, count=lambda what: None)
    code, _, errors = commands["espmedsam"](arguments)
    assert (code == 0) == (not told) and told in errors
