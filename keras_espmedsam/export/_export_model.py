"""Write a model as an artefact of another runtime, run it there and compare it."""

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

    The built-in formats are written by TensorFlow; on another backend it is run as a process of
    its own. This is what `export_for` of both tasks calls.

    Args:
        task: `ESPMedSAMImageSegmenter` or `TiCImageClassifier`.
        format: `"saved_model"`, `"tflite"`, `"onnx"`, `"openvino"`, or another of
            `keras_espmedsam.registries.export_formats`.
        path: where to write: a folder, or a file whose name ends as the format's do (.tflite,
            .onnx, .xml). A JSON file beside it, which is also inside it, says how it is fed.
        size: (height, width) in pixels, multiples of 32; `None` is the preprocessor's; `"any"`
            leaves it open, which TFLite cannot.
        modality: name or index: a smaller artefact of that modality alone. `None` keeps all, with
            the modality of each image as an input. A classifier has none.
        precision: `"float32"`, `"float16"` or `"int8"`; SavedModel has float32 alone.
        flavor: `"images"`: uint8 images in, uint8 masks and probabilities out (of a classifier
            probabilities); `"logits"`: normalised float32 in, `masks` and `patches` (of a
            classifier `logits`) out as the Keras model's.
        batch_size: int, or `None` to leave it open; of TFLite 1.
        calibration: for int8, the path of an index.csv, whose val split is used, or a list of
            `Record`; some choose its ranges, others measure its Dice (of a classifier, how many
            are classed as before).
        overwrite: bool. Whether what is there at `path` may be replaced.
        preset: str or None. The preset's name, to be written into the artefact; of a folder the
            last part of its path alone.
        licence: str or None. The licence of the weights, to be written into the artefact; `None`
            is what the preset's card says, or "unknown".
        report: callable that is given sentences on the progress, or `None`.

    Returns:
        dict: the description in the JSON file, and `path`.

    Raises:
        InputError: for options that the format or model cannot do, a missing library, and an
            artefact that differs by more than 1e-4 (float16: 0.01 in the mean of the
            probabilities; int8: 0.01 of Dice, or one image in a hundred classed otherwise), which
            is not kept.

    Example:
        >>> import tempfile
        >>> segmenter = ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> path = tempfile.mkdtemp() + "/fundus"
        >>> done = kem.export.export_model(segmenter, "saved_model", path, modality="fundus")
        >>> done["modalities"], done["licence"]
        (['fundus'], 'unknown')

    Source: ours.
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
            f"{request.path} cannot be written ({error.strerror or error}); give a path that can "
            "be, on a disk with enough space. Nothing was kept."
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
        del runtime  # Some hold their file open.
        description["sha256"] = checksums(request.format, target)
        beside = target.with_name(request.description_path.name)
        beside.write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
        with alone_in(parent):  # Of two exports to one path, the files of one stay.
            if not overwrite:
                refuse_replacing(request.format, request.path)
            _move(target, beside, request)
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
    if request.format.backend in (None, keras.backend.backend()):
        write(task, request, target, description, calibration)
        return
    report(
        f"{BACKENDS[request.format.backend]} writes {request.format.name}: it runs beside "
        f"{keras.backend.backend()}, from the saved preset."
    )
    write_elsewhere(task, request, target, description, calibration)


def _move(target, beside, request):
    """Put a finished artefact in its place, and its description last.

    No system renames several files at once. Killed in between, the description has the checksums of
    another artefact, and `ExportedSegmenter` refuses the two.
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
