"""An empty argument is refused by every command: it is a variable of the shell that is not set."""

import os

import pytest


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("segment", ""), "an empty argument"),
        (("segment", "a.png", ""), "an empty argument"),
        (("segment", "--", ""), "an empty argument"),
        (("segment", "a.png", "--output", ""), "value for --output"),
        (("segment", "a.png", "--output="), "value for --output"),
        (("segment", "a.png", "--modality", ""), "value for --modality"),
        (("segment", "a.png", "--preset="), "value for --preset"),
        (("evaluate", "--data", ""), "value for --data"),
        (("evaluate", "--data", "index.csv", "--per-image", ""), "value for --per-image"),
        (("evaluate", "--data", "index.csv", "--split="), "value for --split"),
        (("evaluate", "--data", "index.csv", "--metric", ""), "value for --metric"),
        (("segment", "a.png", "--intensity", ""), "value for --intensity"),
        (("presets", ""), "an empty argument"),
        (("train", ""), "an empty argument"),
        (("train", "train.yaml", "--output", ""), "value for --output"),
        (("train", "train.yaml", "--set", ""), "value for --set"),
        (("distill", ""), "an empty argument"),
        (("add-modality", "", "--data", "index.csv", "--output", "run"), "an empty argument"),
        (("add-modality", "x", "--data", "index.csv", "--output", ""), "value for --output"),
        (("export", "--format", "onnx", "--output", ""), "value for --output"),
        (("convert", "mobilesam", "", "--output", "x"), "an empty argument"),
        (("convert", "sam", "sam.pth", "--output="), "value for --output"),
        (("segment", "a.png", "--compile-cache", ""), "value for --compile-cache"),
    ],
)
def test_it_is_refused(run, tmp_path, monkeypatch, arguments, named):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    said = " ".join(result.stderr.replace("│", " ").split())
    assert f"Received an empty {named.removeprefix('an empty ')}" in said
    assert "perhaps a shell variable is not set" in said
    assert os.listdir(tmp_path) == []


def test_what_ends_in_an_equals_sign_may_be_a_file(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("segment", "a=", "--modality", "fundus")
    assert result.exit_code == 2
    assert "empty" not in result.stderr and "a=" in result.stderr
