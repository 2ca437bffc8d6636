"""Write an artefact, here or in a process whose Keras runs on the required backend."""

import contextlib
import dataclasses
import gc
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.request import ExportRequest
from keras_espmedsam.registries.export_formats import export_formats

_MAIN = "from keras_espmedsam.export.started_process import main; main()"
# Exit status of the other process if it failed with a sentence that says why.
_REFUSED = 3
BACKENDS = {"tensorflow": "TensorFlow", "jax": "JAX", "torch": "PyTorch"}


def write(task, request, target, description, calibration):
    """Write an artefact, on the backend that its format requires.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        target: the file or folder to write.
        description: dict, which goes into it.
        calibration: list of dicts of inputs, for int8.

    Raises:
        InputError: if the format's converter fails.
    """
    with _as_input_error(request.format.name):
        request.format.write(task.fold(), request, target, description, calibration)
    # A converter's graphs are reference cycles of hundreds of MiB, and the comparison comes next.
    gc.collect()


@contextlib.contextmanager
def _as_input_error(what):
    """Turn a converter's error into a sentence; each converter has its own errors."""
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
    """Like `write`, from any backend: the model goes to another process as a preset.

    Raises:
        InputError: if that process fails.
    """
    # Next to the target, so that it is removed with it if this process is killed.
    with tempfile.TemporaryDirectory(dir=Path(target).parent) as folder:
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
        _run(task, job, request.format.backend, request.format.name, Path(target).parent)


def export_elsewhere(model, **options):
    """Call Keras' own `export` of a model in a process that runs TensorFlow.

    Args:
        model: a task or a backbone.
        **options: of `export`, ready for JSON; `input_signature` is a structure of
            `[shape, dtype, name]`.

    Raises:
        InputError: if that process fails.
    """
    job = {"do": "export", "options": options}
    _run(model, job, "tensorflow", options["format"])


def _run(model, job, backend, what, parent=None):
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        folder = Path(folder)
        model.save_to_preset(str(folder / "preset"))
        job |= {
            "class": _place(type(model), f"The model's class {type(model).__name__}"),
            "preset": str(folder / "preset"),
            "sys_path": sys.path,
            # Files that this process would leave behind if it is killed.
            "remove": [os.path.abspath(parent or folder)],
        }
        file = folder / f"{backend}_process.json"
        file.write_text(json.dumps(job), encoding="utf-8")
        status, output = _waited_for([sys.executable, "-c", _MAIN, str(file)], backend)
    lines = output.strip().splitlines() or ["no reason given"]
    if status == _REFUSED:
        raise InputError(lines[-1])
    if status < 0:
        raise InputError(
            f"The process in which {BACKENDS[backend]} writes {what} was killed by the signal "
            f"{_signal(-status)}; perhaps there is too little memory. Nothing was kept."
        )
    if status:
        raise InputError(
            f"{BACKENDS[backend]} could not write {what}: {lines[-1]} Nothing was kept."
        )


def _waited_for(command, backend):
    """Run a process and return its exit status and output; it ends when this one does."""
    process = subprocess.Popen(
        command,
        env={**os.environ, "KERAS_BACKEND": backend, "TF_CPP_MIN_LOG_LEVEL": "3"},
        stdin=subprocess.PIPE,  # The other process sees it close when this one ends.
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    said = {}

    def read(name):
        said[name] = getattr(process, name).read()

    readers = [
        threading.Thread(target=read, args=(name,), daemon=True) for name in ("stdout", "stderr")
    ]
    try:
        for one in readers:
            one.start()
        status = process.wait()
        for one in readers:
            one.join()
    except BaseException:  # Ctrl-C, or a signal: the result is no longer wanted.
        process.kill()
        process.wait()
        raise
    finally:
        process.stdin.close()
    return status, said["stderr"] or said["stdout"]


def _signal(number):
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def _place(found, what):
    """Return a class as `"module:name"`, by which the other process imports it."""
    if found.__module__ == "__main__" or "<locals>" in found.__qualname__:
        raise InputError(
            f"{what} is defined in the main program, from which the process that writes cannot "
            "import it; define it in a module of its own."
        )
    return f"{found.__module__}:{found.__qualname__}"


def _imported(place):
    module, _, name = place.partition(":")
    found = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found


def do(job):
    """Do a job in the other process.

    Args:
        job: dict from `_run`.
    """
    # Find formats and models of other packages where the first process found them.
    sys.path.extend(path for path in job["sys_path"] if path not in sys.path)
    importlib.import_module("keras_espmedsam.models")  # Registers classes that Keras finds by name.
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
    with _as_input_error(options["format"]):
        model.export(input_signature=signature, **options)
