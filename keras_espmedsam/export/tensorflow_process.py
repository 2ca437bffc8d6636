"""Writing an artefact: here, on Keras' TensorFlow backend, or in a process that has it."""

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import get_format
from keras_espmedsam.export.request import ExportRequest
from keras_espmedsam.export.runtimes import WRITERS

_MAIN = "from keras_espmedsam.export.tensorflow_process import main; main()"
# The exit status of the other process when it says in a sentence why it cannot.
_REFUSED = 3


def write(task, request, target, description, calibration):
    """Write an artefact, on the TensorFlow backend.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        target: the file or folder to write.
        description: dict, which goes into it.
        calibration: list of dicts of inputs, for int8.

    Raises:
        InputError: when the format's converter fails.

    Source: ours.
    """
    try:
        # The converters print pages of progress.
        with contextlib.redirect_stdout(None):
            WRITERS[request.format.name](task.fold(), request, target, description, calibration)
    except InputError:
        raise
    except Exception as error:  # Each converter has errors of its own.
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise InputError(
            f"{request.format.name} could not be written: {type(error).__name__}: {lines[0]} "
            "Nothing was kept."
        ) from error


def write_in_tensorflow(task, request, target, description, calibration):
    """As `write`, from any backend: the model goes to another process as a preset.

    Raises:
        InputError: when that process fails.

    Source: ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        task.save_to_preset(str(folder / "preset"))
        samples = {f"{i}/{name}": v for i, one in enumerate(calibration) for name, v in one.items()}
        np.savez(folder / "calibration.npz", **samples)
        job = {
            "class": type(task).__name__,
            "preset": str(folder / "preset"),
            "request": {
                **dataclasses.asdict(request),
                "format": request.format.name,
                "path": str(request.path),
            },
            "target": str(target),
            "description": description,
            "calibration": str(folder / "calibration.npz"),
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, str(folder / "job.json")],
            env={**os.environ, "KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
    lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
    if done.returncode == _REFUSED:
        raise InputError(lines[-1])
    if done.returncode:
        raise InputError(
            f"TensorFlow could not write {request.format.name}: {lines[-1]} Nothing was kept."
        )


def main():
    """The other process; its argument is the file of the job.

    Source: ours.
    """
    import keras_espmedsam.models as models

    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    options = job["request"]
    request = ExportRequest(
        **{
            **options,
            "format": get_format(options["format"]),
            "path": Path(options["path"]),
            "size": options["size"] and tuple(options["size"]),
        }
    )
    samples = {}
    with np.load(job["calibration"]) as arrays:
        for key in arrays:
            number, name = key.split("/")
            samples.setdefault(int(number), {})[name] = arrays[key]
    task = getattr(models, job["class"]).from_preset(job["preset"])
    calibration = [samples[i] for i in sorted(samples)]
    try:
        write(task, request, job["target"], job["description"], calibration)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(_REFUSED)
