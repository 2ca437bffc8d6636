"""`espmedsam train` and `distill`: what they hand on, and what they refuse before Keras starts."""

import subprocess
import sys
from pathlib import Path

import pytest

from keras_espmedsam import distillation, training
from keras_espmedsam.cli import distill as distill_command
from keras_espmedsam.cli import train as train_command
from keras_espmedsam.errors import InputError

TRAIN = """
output: runs/first
model: {preset: tiny}
data:
  sources: [{folder: images, modality: xray}]
phases: [{epochs: 2}]
"""
DISTILL = """
output: runs/first
student: {preset: tiny}
medical_teacher: {preset: big}
data:
  sources: [{folder: images, modality: xray}]
phases: [{phase: controllers}]
"""


@pytest.fixture(params=["train", "distill"])
def command(request, tmp_path, monkeypatch):
    """A command with its configuration; `called` holds what the run is given."""
    called = []

    def run_it(config, report, verbose):
        called.append(config)
        report("1 left out of training:")
        return Path(config.output) / "preset"

    package = training if request.param == "train" else distillation
    module = train_command if request.param == "train" else distill_command
    monkeypatch.setattr(package, request.param, run_it, raising=False)
    monkeypatch.setattr(module, "import_models", lambda: None)
    (tmp_path / "images").mkdir()
    text = TRAIN if request.param == "train" else DISTILL
    (tmp_path / "config.yaml").write_text(text)
    return request.param, called


def test_options_change_the_configuration(run, command):
    name, called = command
    result = run(
        *(name, "config.yaml", "--set", "phases.0.epochs=7", "--set", "seed=3"),
        *("--output", "runs/a: b", "--strict"),
    )
    assert result.exit_code == 0, result.output
    (config,) = called
    assert (config.phases[0].epochs, config.seed, config.output) == (7, 3, Path("runs/a: b"))
    assert config.data.strict


def test_what_the_run_reports_is_told_beside_the_results(run, command):
    result = run(command[0], "config.yaml")
    assert result.exit_code == 0
    assert "1 left out of training:" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.yaml"], "none.yaml does not exist"),
        (["config.yaml", "--set", "phases.0.epoch=3"], "did you mean epochs?"),
        (["config.yaml", "--set", "phases.0.epochs=ten"], "phases.0.epochs: 'ten'"),
        (["config.yaml", "--set", "epochs"], "expected KEY=VALUE"),
        (["config.yaml", "--set", "data.sources.0.folder=gone"], "gone does not exist"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(run, command, arguments, words):
    name, called = command
    result = run(name, *arguments)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ") and words in line
    assert called == []


def test_an_error_of_the_run_is_told(run, command, monkeypatch):
    def fail(*_, **__):
        raise InputError("The loss of epoch 2 is nan.")

    monkeypatch.setattr(training if command[0] == "train" else distillation, command[0], fail)
    result = run(command[0], "config.yaml")
    assert (result.exit_code, result.stderr) == (2, "error: The loss of epoch 2 is nan.\n")


def test_a_missing_library_is_named_with_its_extra(run, monkeypatch, tmp_path):
    (tmp_path / "config.yaml").write_text(TRAIN)
    monkeypatch.setitem(sys.modules, "yaml", None)
    result = run("train", "config.yaml")
    assert result.exit_code == 2
    assert 'pip install "keras-espmedsam[train]"' in result.stderr


def test_a_configuration_is_checked_before_keras_starts(tmp_path):
    (tmp_path / "config.yaml").write_text(TRAIN + "sed: 1\n")
    code = (
        "import sys\n"
        "from keras_espmedsam.cli.app import app\n"
        "try: app(sys.argv[1:])\n"
        "finally: assert 'keras' not in sys.modules"
    )
    for name in ("train", "distill"):
        command = [sys.executable, "-c", code, name, str(tmp_path / "config.yaml")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 2, done.stderr
        assert done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_strict_is_for_all_images_that_there_are(tmp_path):
    teacher = "{name: sam, keras_hub: sam_base_sa1b}"
    (tmp_path / "config.yaml").write_text(
        "output: run\nstudent: {preset: tiny}\n"
        f"common_teachers: [{teacher}]\ncommon_data: {{sources: [{{folder: {tmp_path}}}]}}\n"
        "phases: [{phase: common}]\n"
    )
    config = train_command.read_config(
        "DistillConfig", tmp_path / "config.yaml", None, None, strict=True
    )
    assert config.common_data.strict and config.data is None
