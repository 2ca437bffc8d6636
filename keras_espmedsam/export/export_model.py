"""Write a model as an artefact of another runtime, run it there and compare it."""

import json
import os
import shutil
import tempfile
from pathlib import Path

import keras

from keras_espmedsam._files import atomic_path
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.comparison import compare
from keras_espmedsam.export.description import checksums, describe, files_of
from keras_espmedsam.export.formats.export_format import check_installed
from keras_espmedsam.export.quantization_data import calibration_inputs, chosen_records, quality
from keras_espmedsam.export.request import make_request
from keras_espmedsam.export.runtimes import RUNTIMES
from keras_espmedsam.export.tensorflow_process import write, write_in_tensorflow
from keras_espmedsam.models.quantization import refuse_quantized


def export_task(
    task,
    format,
    path,
    size=None,
    modality=None,
    precision="float32",
    flavor="pictures",
    batch_size=None,
    calibration=None,
    overwrite=False,
    preset=None,
    licence=None,
    report=None,
):
    """What `export_for` of the segmenter and the classifier do.

    Args:
        task: `ESPMedSAMImageSegmenter` or `TiCImageClassifier`.
        format, path, size, modality, precision, flavor, batch_size, calibration, overwrite:
            see `ESPMedSAMImageSegmenter.export_for`.
        preset: str or None. The preset's name, for the description.
        licence: str or None. The licence of the weights, for the description.
        report: callable that is given sentences on the progress, or `None`.

    Returns:
        dict: the description, as in the JSON file, and `path`.

    Raises:
        InputError: see `export_for`.

    Source: ours.
    """
    report = report or (lambda sentence: None)
    request = make_request(task, format, path, size, batch_size, precision, flavor, overwrite)
    check_installed(request.format)
    if request.format.name != "saved_model":  # The others know no layer that Keras quantised.
        how = 'and export it with precision="int8" for integers'
        refuse_quantized(task, f"the format {request.format.name}", how)
    if modality is not None:
        if not isinstance(task.output, dict):
            raise InputError("A classifier has no modalities to choose one of; leave it out.")
        task = task.specialize(modality) if len(task.modalities) > 1 else _only(task, modality)
    calibrating, measuring = _records(task, request, calibration)
    description = describe(task, request, preset, licence)
    parent = request.path.parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=parent) as folder:
        target = Path(folder) / request.path.name
        _write(task, request, target, description, calibrating, report)
        runtime = RUNTIMES[request.format.name](target)
        if request.precision == "int8":
            found = quality(task, request, description, runtime, measuring)
            description["quality"] = found
            report(
                f"{found['measure']} on {found['images']} images: {found['exported']} in int8, "
                f"{found['keras']} in Keras."
            )
        else:
            difference = compare(task, request, runtime)
            description["difference"] = float(f"{difference:.3g}")
            report(
                f"Run in {request.format.runtime}: differs from the Keras model "
                f"({keras.backend.backend()}) by {difference:.2g}."
            )
        del runtime  # Some hold their file open.
        description["sha256"] = checksums(target)
        _move(target, request)
    with atomic_path(request.description_path) as temporary:
        temporary.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    return {**description, "path": str(request.path)}


def _only(task, modality):
    task.modality_indices(modality, 1)  # Refuses another than the model's only one.
    return task


def _records(task, request, calibration):
    if request.precision != "int8":
        if calibration is not None:
            raise InputError(
                f"Received images to calibrate with for {request.precision}; they are for int8."
            )
        return [], []
    if calibration is None:
        raise InputError("int8 is chosen by real images; give an index of them as calibration.")
    if request.size is None:
        raise InputError("int8 is calibrated for one size; give it.")
    if isinstance(calibration, str | os.PathLike):
        from keras_espmedsam.data.index import read_index

        calibration = read_index(calibration, ("val",))
    calibrating, measuring = chosen_records(task, list(calibration))
    if not request.format.calibrated:
        return [], measuring
    return calibration_inputs(task, request, calibrating), measuring


def _write(task, request, target, description, calibration, report):
    if keras.backend.backend() == "tensorflow":
        write(task, request, target, description, calibration)
        return
    report(
        f"TensorFlow writes {request.format.name}: it runs beside {keras.backend.backend()}, from "
        "the saved preset."
    )
    write_in_tensorflow(task, request, target, description, calibration)


def _move(target, request):
    """Put a finished artefact in its place; its main file last."""
    if target.is_dir():
        old = target.with_name("replaced")
        if request.path.exists():
            request.path.rename(old)
        target.rename(request.path)
        shutil.rmtree(old, ignore_errors=True)
        return
    for file in reversed(files_of(target)):
        file.chmod(0o644)
        file.replace(request.path.with_suffix(file.suffix))
