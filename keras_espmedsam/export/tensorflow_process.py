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
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.request import ExportRequest
from keras_espmedsam.export.runtimes import WRITERS

_MAIN = "from keras_espmedsam.export.tensorflow_process import main; main()"


def write(task, request, target, description, calibration):
    """Write an artefact, on the TensorFlow backend.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        target: the file or folder to write.
        description: dict, which goes into it.
        calibration: list of dicts of inputs, for int8.

    Source: ours.
    """
    # The converters print pages of progress.
    with contextlib.redirect_stdout(None):
        WRITERS[request.format.name](task.fold(), request, target, description, calibration)


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
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
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
    write(task, request, job["target"], job["description"], calibration)
