"""Export a model to another runtime, run it there and compare the outputs."""

import json
import os

import keras

from keras_espmedsam._files import alone_in, remove_leftovers, replace_folder, writing_folder
from keras_espmedsam._renamed import old_attribute
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.comparison import compare
from keras_espmedsam.export.description import checksums, describe
from keras_espmedsam.export.formats import check_installed
from keras_espmedsam.export.other_process import BACKENDS, write, write_elsewhere
from keras_espmedsam.export.quantization_data import calibration_inputs, chosen_records, quality
from keras_espmedsam.export.request import make_request, refuse_replacing
from keras_espmedsam.models.quantization import refuse_quantized


def export_model(
    task,
    format,
    path,
    size=None,
    modality=None,
    precision="float32",
    flavor="images",
    batch_size=None,
    calibration=None,
    overwrite=False,
    preset=None,
    licence=None,
    report=None,
):
    """Write a model for another runtime, run it there and compare it with the Keras model.

    TensorFlow writes the built-in formats; on another backend it runs in a separate process.
    `export_for` of both tasks calls this function.

    Args:
        task: `ESPMedSAMImageSegmenter` or `TiCImageClassifier`.
        format: `"saved_model"`, `"tflite"`, `"onnx"`, `"openvino"`, or another of
            `keras_espmedsam.registries.export_formats`.
        path: where to write: a folder, or a file with the suffix of the format (.tflite, .onnx,
            .xml). A JSON file next to it, with a copy inside, says how to feed it.
        size: (height, width) in pixels, multiples of 32; `None` is the preprocessor's; `"any"`
            leaves it open, which TFLite cannot.
        modality: name or index: a smaller artefact of only that modality. `None` keeps all, and
            the modality of each image is an input. A classifier has none.
        precision: `"float32"`, `"float16"` or `"int8"`; SavedModel has only float32.
        flavor: `"images"`: uint8 images in, uint8 masks and probabilities out (for a classifier
            probabilities); `"logits"`: normalised float32 in, the Keras model's `masks` and
            `patches` (for a classifier `logits`) out.
        batch_size: int, or `None` to leave it open; for TFLite 1.
        calibration: for int8, the path of an index.csv, whose val split is used, or a list of
            `Record`. Some images choose the ranges, others measure the Dice (for a classifier,
            how many keep their class).
        overwrite: bool. Whether to replace an artefact at `path`.
        preset: str or None. The preset's name, to be written into the artefact; for a folder only
            the last part of its path.
        licence: str or None. The licence of the weights, to be written into the artefact; `None`
            takes it from the preset's card, or writes "unknown".
        report: callable that gets sentences about the progress, or `None`.

    Returns:
        dict: the description in the JSON file, and `path`.

    Raises:
        InputError: for options that the format or model does not support, a missing library, and
            an artefact that differs by more than 1e-4 (float16: 0.01 in the mean of the
            probabilities; int8: 0.01 of Dice, or the class of one image in a hundred), which is
            then deleted.

    Example:
        >>> import tempfile
        >>> segmenter = ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> path = tempfile.mkdtemp() + "/fundus"
        >>> done = kem.export.export_model(segmenter, "saved_model", path, modality="fundus")
        >>> done["modalities"], done["licence"]
        (['fundus'], 'unknown')
    """
    report = report or (lambda sentence: None)
    request = make_request(task, format, path, size, batch_size, precision, flavor, overwrite)
    check_installed(request.format)
    if not request.format.keeps_quantized_layers:
        how = 'and export it with precision="int8" for integers'
        refuse_quantized(task, f"the format {request.format.name}", how)
    if modality is not None:
        if not task.is_segmenter:
            raise InputError("A classifier has no modalities to choose one of; leave it out.")
        task = task.specialize(modality) if task.takes_modalities else _only(task, modality)
    calibrating, measuring = _records(task, request, calibration)
    description = describe(task, request, preset, licence)
    try:
        return _export(task, request, description, calibrating, measuring, report, overwrite)
    except OSError as error:
        raise InputError(
            f"{request.path} cannot be written ({error.strerror or error}); give another "
            "path, on a disk with enough space. Nothing was kept."
        ) from error


def _export(task, request, description, calibrating, measuring, report, overwrite):
    parent = request.path.parent
    parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(parent)
    with writing_folder(parent) as folder:
        target = folder / request.path.name
        _write(task, request, target, description, calibrating, report)
        runtime = request.format.load(target)
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
        del runtime  # Some runtimes hold their file open.
        description["sha256"] = checksums(request.format, target)
        beside = target.with_name(request.description_path.name)
        beside.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        with alone_in(parent):  # Of two exports to one path, the files of one survive.
            if not overwrite:
                refuse_replacing(request.format, request.path)
            _move(target, beside, request)
    return {**description, "path": str(request.path)}


def _only(task, modality):
    task.modality_indices(modality, 1)  # Raises for anything but the model's only modality.
    return task


def _records(task, request, calibration):
    if request.precision != "int8":
        if calibration is not None:
            raise InputError(
                f"Received images to calibrate with for {request.precision}; they are for int8."
            )
        return [], []
    if calibration is None:
        raise InputError(
            "int8 needs real images to choose its ranges; give an index of them as calibration."
        )
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
    if request.format.backend in (None, keras.backend.backend()):
        write(task, request, target, description, calibration)
        return
    report(
        f"{BACKENDS[request.format.backend]} writes {request.format.name}: it runs next to "
        f"{keras.backend.backend()}, from the saved preset."
    )
    write_elsewhere(task, request, target, description, calibration)


def _move(target, beside, request):
    """Move a finished artefact to its place, and its description last.

    No system renames several files at once. If the process is killed in between, the description
    has the checksums of another artefact, and `ExportedSegmenter` rejects the pair.
    """
    if target.is_dir():
        if request.path.is_dir() and not request.path.is_symlink():
            replace_folder(target, request.path)
        else:
            target.replace(request.path)
    else:
        for file in reversed(request.format.files(target)):
            file.chmod(0o644)
            file.replace(request.path.with_name(file.name))
    os.replace(beside, request.description_path)


def __getattr__(name):
    return old_attribute(__name__, name)
