"""`espmedsam export`: what it hands on, and what it refuses by itself."""

import pytest

from keras_espmedsam.errors import InputError


class Task:
    """Notes what it is asked for."""

    modalities = ("fundus",)

    def export_for(self, format, path, **options):
        self.asked = {"format": format, "path": str(path), **options}
        options["report"]("Compared.")
        if format == "onxx":
            raise InputError("Received the format 'onxx'.")
        return {"path": str(path)}


@pytest.fixture
def task(monkeypatch):
    task = Task()
    monkeypatch.setattr("keras_espmedsam.cli.export.load_task", lambda preset: task)
    return task


def test_options_arrive(run, task, tmp_path):
    result = run(
        *("export", "--format", "onnx", "--output", tmp_path / "eye.onnx", "--size", "64", "96"),
        *("--modality", "fundus", "--precision", "int8", "--calibration", tmp_path / "index.csv"),
        *("--batch-size", "2", "--flavor", "logits", "--overwrite"),
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == f"{tmp_path / 'eye.onnx'}\n"
    assert "Compared." in result.stderr
    asked = task.asked
    assert (asked["size"], asked["modality"], asked["batch_size"]) == ((64, 96), "fundus", 2)
    assert (asked["precision"], asked["flavor"], asked["overwrite"]) == ("int8", "logits", True)
    assert asked["calibration"] == tmp_path / "index.csv"
    assert asked["preset"] == "espmedsam_nano_256"


def test_defaults(run, task, tmp_path):
    assert run("export", "--format", "onnx", "--output", "m.onnx", "--any-size").exit_code == 0
    assert task.asked["size"] == "any"
    assert task.asked["modality"] is None and task.asked["flavor"] == "images"
    assert run("export", "--format", "onnx", "--output", "m.onnx").exit_code == 0
    assert task.asked["size"] is None


@pytest.mark.parametrize(
    "options, says",
    [
        (["--size", "64", "64", "--any-size"], "give one of them"),
        (["--preset", "nowhere"], "Unknown preset"),
        (["--format", "onxx"], "the format 'onxx'"),
        (["--triton", "models"], "both --output and --triton"),
    ],
)
def test_refused(run, task, options, says):
    result = run("export", "--format", "onnx", "--output", "m.onnx", *options)
    assert result.exit_code == 2
    assert says in result.stderr


def test_a_model_repository_of_triton_takes_the_place_of_an_output(run, task, monkeypatch):
    def export_triton(given, repository, **options):
        task.asked = {"task": given, "repository": str(repository), **options}
        return {"path": f"{repository}/eye"}

    monkeypatch.setattr("keras_espmedsam.export.triton.export_triton", export_triton)
    result = run("export", "--format", "onnx", "--triton", "models", "--modality", "fundus")
    assert (result.exit_code, result.stdout) == (0, "models/eye\n"), result.output
    assert task.asked["task"] is task and task.asked["repository"] == "models"
    assert (task.asked["modality"], task.asked["size"]) == ("fundus", None)
    for options, says in (
        (["--format", "tflite"], "it is for onnx"),
        (["--any-size", "--batch-size", "2"], "--any-size and --batch-size; leave"),
    ):
        result = run("export", "--format", "onnx", "--triton", "models", *options)
        assert result.exit_code == 2 and says in result.stderr
    result = run("export", "--format", "onnx")
    assert result.exit_code == 2 and "Received no --output" in result.stderr


def test_a_package_of_bioimageio_takes_the_place_of_an_output(run, task, monkeypatch):
    def export_bioimageio(given, path, **options):
        task.asked = {"task": given, **options}
        return {"path": str(path)}

    monkeypatch.setattr("keras_espmedsam.export.bioimageio.export_bioimageio", export_bioimageio)
    options = ("--bioimageio", "eye.zip", "--modality", "fundus")
    result = run("export", "--format", "onnx", *options)
    assert (result.exit_code, result.stdout) == (0, "eye.zip\n"), result.output
    assert task.asked["task"] is task and task.asked["modality"] == "fundus"
    result = run("export", "--format", "onnx", "--triton", "models", *options)
    assert result.exit_code == 2 and "both --triton and --bioimageio" in result.stderr
