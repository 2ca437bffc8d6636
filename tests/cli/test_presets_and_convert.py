import types
from pathlib import Path

import pytest

from keras_espmedsam.cli import convert, presets
from keras_espmedsam.errors import InputError


@pytest.fixture
def conversions(monkeypatch):
    """Replace the conversion functions by ones that note their arguments."""
    calls = []

    def convert_espmedsam(paths, modalities, output):
        if len(paths) != len(modalities):
            raise InputError(f"Received {len(modalities)} modalities for {len(paths)} files.")
        calls.append((paths, modalities, output))
        return ["Ignored 3 teacher tensors."]

    def convert_mobilesam(path, output):
        calls.append((path, output))
        return []

    module = types.ModuleType("keras_espmedsam.checkpoints")
    module.convert_espmedsam, module.convert_mobilesam = convert_espmedsam, convert_mobilesam
    monkeypatch.setitem(__import__("sys").modules, "keras_espmedsam.checkpoints", module)
    monkeypatch.setattr(convert, "import_segmenter_class", lambda: None)
    return calls


@pytest.fixture
def checkpoints(run):
    for name in ("a.pth", "b.pth"):
        Path(name).write_bytes(b"weights")


def test_presets(run, monkeypatch):
    known = {
        "nano": {"metadata": {"description": "A small one.", "params": 5_678_901}, "weights": True},
        "big": {"metadata": {"description": "A big one.", "params": 28_182_737}, "weights": False},
    }
    monkeypatch.setattr(
        presets, "import_segmenter_class", lambda: types.SimpleNamespace(presets=known)
    )
    result = run("presets")
    assert result.exit_code == 0
    lines = {line.split()[0]: line for line in result.stdout.splitlines() if line.split()}
    assert "5,678,901" in lines["nano"]
    assert "yes" in lines["nano"]
    assert "A small one." in lines["nano"]
    assert "no" in lines["big"].split()


def test_convert_espmedsam(run, checkpoints, conversions):
    result = run(
        *("convert", "espmedsam", "a.pth", "b.pth", "--modality", "fundus", "--modality", "xray"),
        *("--output", "both"),
    )
    assert result.exit_code == 0, result.output
    assert conversions == [([Path("a.pth"), Path("b.pth")], ["fundus", "xray"], Path("both"))]
    assert result.stdout == "Ignored 3 teacher tensors.\n"
    assert "both" in result.stderr


def test_convert_mobilesam(run, checkpoints, conversions):
    assert run("convert", "mobilesam", "a.pth", "--output", "mine").exit_code == 0
    assert conversions == [(Path("a.pth"), Path("mine"))]


def test_errors_of_the_conversion(run, checkpoints, conversions):
    result = run("convert", "espmedsam", "a.pth", "b.pth", "--modality", "xray", "--output", "o")
    assert result.exit_code == 2
    assert result.stderr.strip() == "error: Received 1 modalities for 2 files."


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("none.pth", "--output", "o"), "none.pth does not exist"),
        (("empty.pth", "--output", "o"), "empty"),
        (("a.pth", "--output", "a.pth"), "expected a folder"),
        (("a.pth", "--output", "full"), "--overwrite"),
        (("a.pth",), "--output"),
    ],
)
@pytest.mark.parametrize("command", [("mobilesam",), ("espmedsam", "--modality", "xray")])
def test_wrong_usage(run, checkpoints, conversions, command, arguments, word):
    Path("empty.pth").touch()
    Path("full").mkdir()
    Path("full/precious.txt").touch()
    result = run("convert", *command, *arguments)
    assert result.exit_code == 2
    assert word in result.stderr
    assert conversions == []


def test_overwrite_is_possible(run, checkpoints, conversions):
    Path("full").mkdir()
    Path("full/old.txt").touch()
    assert run("convert", "mobilesam", "a.pth", "--output", "full", "--overwrite").exit_code == 0
    assert len(conversions) == 1
