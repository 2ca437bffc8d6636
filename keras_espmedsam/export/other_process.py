"""Writing an artefact: here, or in a process whose Keras runs on the backend that writes it."""

import contextlib
import dataclasses
import gc
import importlib
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
from keras_espmedsam.registries.export_formats import export_formats

_MAIN = "from keras_espmedsam.export.other_process import main; main()"
# The exit status of the other process when it says in a sentence why it cannot.
_REFUSED = 3
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def write(task, request, target, description, calibration):
    """Write an artefact, on the backend that its format wants.

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
    with _told(request.format.name):
        request.format.write(task.fold(), request, target, description, calibration)
    # A converter's graphs are circles of hundreds of MiB, and the comparison comes next.
    gc.collect()


@contextlib.contextmanager
def _told(what):
    """What a converter raises, as a sentence; each has errors of its own."""
    try:
        # The converters print pages of progress.
        with contextlib.redirect_stdout(None):
            yield
    except InputError:
        raise
    except Exception as error:
        lines = str(error).strip().splitlines() or ["no reason given"]
        raise InputError(
            f"{what} could not be written: {type(error).__name__}: {lines[0]} Nothing was kept."
        ) from error


def write_elsewhere(task, request, target, description, calibration):
    """As `write`, from any backend: the model goes to another process as a preset.

    Raises:
        InputError: when that process fails.

    Source: ours.
    """
    with tempfile.TemporaryDirectory() as folder:
        samples = {f"{i}/{name}": v for i, one in enumerate(calibration) for name, v in one.items()}
        path = Path(folder) / "calibration.npz"
        np.savez(path, **samples)
        job = {
            "do": "write",
            "request": {
                **dataclasses.asdict(dataclasses.replace(request, format=None)),
                "format": request.format.name,
                "path": str(request.path),
            },
            "format_class": _place(type(request.format), f"The format {request.format.name!r}"),
            "target": str(target),
            "description": description,
            "calibration": str(path),
        }
        _run(task, job, request.format.backend, request.format.name)


def export_elsewhere(model, **options):
    """Call Keras' own `export` of a model in a process that runs TensorFlow.

    Args:
        model: a task or a backbone.
        **options: of `export`, ready for JSON; `input_signature` is a structure of
            `[shape, dtype, name]`.

    Raises:
        InputError: when that process fails.

    Source: ours.
    """
    job = {"do": "export", "options": options}
    _run(model, job, "tensorflow", options["format"])


def _run(model, job, backend, what):
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        model.save_to_preset(str(folder / "preset"))
        job |= {
            "class": _place(type(model), f"The model's class {type(model).__name__}"),
            "preset": str(folder / "preset"),
            "sys_path": sys.path,
        }
        (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _MAIN, str(folder / "job.json")],
            env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
            capture_output=True,
            text=True,
        )
    lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
    if done.returncode == _REFUSED:
        raise InputError(lines[-1])
    if done.returncode:
        raise InputError(
            f"{BACKENDS[backend]} could not write {what}: {lines[-1]} Nothing was kept."
        )


def _place(found, what):
    """A class as `"module:name"`, by which the other process imports it."""
    if found.__module__ == "__main__" or "<locals>" in found.__qualname__:
        raise InputError(
            f"{what} is defined in the program that runs, where the process that writes cannot "
            "import it; define it in a module of its own."
        )
    return f"{found.__module__}:{found.__qualname__}"


def _imported(place):
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def main():
    """The other process; its argument is the file of the job.

    Source: ours.
    """
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Formats and models of other packages lie where the first process found them.
    sys.path.extend(path for path in job["sys_path"] if path not in sys.path)
    importlib.import_module("keras_espmedsam.models")  # What Keras finds by name is registered.
    model = _imported(job["class"]).from_preset(job["preset"])
    try:
        {"write": _write_job, "export": _export_job}[job["do"]](model, job)
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(_REFUSED)


def _write_job(task, job):
    options = job["request"]
    if options["format"] not in export_formats:
        export_formats.register(options["format"], _imported(job["format_class"]))
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
    calibration = [samples[i] for i in sorted(samples)]
    write(task, request, job["target"], job["description"], calibration)


def _export_job(model, job):
    from keras_espmedsam.export.input_signature import signature_from_json

    options = job["options"]
    signature = signature_from_json(options.pop("input_signature"))
    with _told(options["format"]):
        model.export(input_signature=signature, **options)
