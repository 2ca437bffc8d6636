"""A folder of files for any web host: a page that segments images in the browser."""

import dataclasses
import hashlib
import json
import os
import shutil
from pathlib import Path

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import ExportFormat
from keras_espmedsam.export.formats.onnx import ONNX, ONNXRuntime

BUNDLE = "ESPMEDSAM_WEB_BUNDLE"
"""The environment variable with the folder of the built page."""

# Of a checkout. The built page is not part of the wheel: ONNX Runtime for browsers is 14 MB, more
# than the rest of the package, and most users export to no page.
_SOURCE = Path(__file__).resolve().parents[3] / "examples" / "browser"
_MODELS = "models"
_SEGMENTER, _RECOGNIZER = f"{_MODELS}/segmenter.onnx", f"{_MODELS}/recognizer.onnx"


class Web(ExportFormat):
    """The page of examples/browser with the model as ONNX; a host of plain files is enough.

    A modality that the preset segments at another size than the others gets a file of its own, so
    that masks are those of the preset. If the model has several modalities, and the built-in
    classifier knows some of them, the page has this classifier, too.
    """

    marker = _SEGMENTER  # What Python loads, so that its checksum has to be listed.
    runtime = "onnxruntime"
    writers = ONNX.writers
    precisions = ("float32", "float16")

    def write(self, task, request, path, description, calibration):
        from keras_espmedsam.export.description import describe
        from keras_espmedsam.inference.recognition import DEFAULT_RECOGNIZER

        bundle = bundle_folder()
        _refuse(task, request)
        path = Path(path)
        shutil.copytree(bundle, path)
        (path / _MODELS).mkdir()
        models = {"segmenter": _written(task, request, path, _SEGMENTER, description)}
        for number, (name, size) in enumerate(_other_sizes(task, request).items()):
            sized = dataclasses.replace(request, size=size)
            about = describe(task, sized, description["preset"], description["licence"])
            file = f"{_MODELS}/segmenter_{number}.onnx"
            models[f"segmenter:{name}"] = _written(task, sized, path, file, about)
        recognizer = _recognizer(task)
        if recognizer is not None:
            models["recognizer"] = _exported(recognizer, path, _RECOGNIZER, DEFAULT_RECOGNIZER)
        _write_text(path / "models.json", json.dumps(models, indent=1) + "\n")
        _write_list(path)

    def check(self, path):
        ONNX("onnx").check(Path(path) / _SEGMENTER)

    def load(self, path):
        return _FloatImages(Path(path) / _SEGMENTER)


class _FloatImages(ONNXRuntime):
    """A model of the page, which takes the values of pixels as floats."""

    def __call__(self, inputs):
        return super().__call__({**inputs, "images": np.asarray(inputs["images"], "float32")})


def _take_floats(file):
    """Have a model take the values of pixels as floats, which it makes of them anyway.

    The page resizes images as Python does; rounded to whole numbers after that, one pixel in a
    thousand of a mask may differ.
    """
    import onnx

    model = onnx.load(str(file))
    images = next(one for one in model.graph.input if one.name == "images")
    images.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    del model.graph.value_info[:]  # Some may say that what follows is not a float, either.
    onnx.save(model, str(file))


def bundle_folder() -> Path:
    """Return the folder of the built page.

    Raises:
        InputError: if there is none, with what builds it.
    """
    given = os.environ.get(BUNDLE)
    folder = Path(given) if given else _SOURCE / "dist"
    if (folder / "index.html").is_file() and (folder / "sw.js").is_file():
        return folder
    found = f"{BUNDLE} names {folder}, which holds no built page" if given else "it is not built"
    raise InputError(
        f"The format web needs the built page, but {found}. In the folder examples/browser of the "
        f"source code run: npm ci && npm run build. Then set {BUNDLE} to its folder dist."
    )


def _refuse(task, request):
    if not task.is_segmenter:
        raise InputError("The page of the format web segments images; give a segmenter.")
    if request.flavor != "images":
        raise InputError("The page of the format web takes the flavor images; leave it out.")
    if request.batch_size != 1:
        raise InputError("The page of the format web segments one image at a time; leave it out.")


def _recognizer(task):
    """Return the built-in classifier, or None if it cannot choose among the model's modalities."""
    from keras_espmedsam.inference.load_models import load_recognizer

    if len(task.modalities) == 1:
        return None
    recognizer = load_recognizer()
    return recognizer if set(recognizer.class_names) & set(task.modalities) else None


def _other_sizes(task, request):
    """Return the image sizes of modalities that the preset segments at another one."""
    from keras_espmedsam.inference.test_time import converter_of

    converter = task.preprocessor.image_converter
    if not task.takes_modalities or request.size != converter.image_size:
        return {}
    sizes = {name: converter_of(converter, name).image_size for name in task.modalities}
    return {name: size for name, size in sizes.items() if size != converter.image_size}


def _written(task, request, path, file, description):
    """Write the segmenter for one image size, and return its entry in the list of models."""
    onnx, description = ONNX("onnx"), {**description, "format": "onnx"}
    onnx.write(task, dataclasses.replace(request, format=onnx), path / file, description, [])
    _take_floats(path / file)
    return _entry(path, file, description)


def _exported(task, path, file, preset):
    """Export a further model, and return its entry in the list of models."""
    found = task.export_for("onnx", path / file, preset=preset, batch_size=1)
    (path / f"{file}.json").unlink()  # The same is in the list.
    _take_floats(path / file)
    return _entry(path, file, {name: value for name, value in found.items() if name != "path"})


def _entry(path, file, description):
    images = {**description["inputs"]["images"], "dtype": "float32"}
    description = {**description, "inputs": {**description["inputs"], "images": images}}
    return {"file": file, "bytes": (path / file).stat().st_size, "description": description}


def _write_list(path):
    """Write what the page's service worker keeps, and a version that changes with any file."""
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != "sw.js")
    digest = hashlib.sha256()
    for file in files:
        digest.update(file.relative_to(path).as_posix().encode() + file.read_bytes())
    names = [file.relative_to(path).as_posix() for file in files]
    site = json.dumps({"version": digest.hexdigest()[:16], "files": names}, indent=1)
    _write_text(path / "site_files.js", f"self.SITE = {site};\n")


def _write_text(path, text):
    path.write_text(text, encoding="utf-8", newline="\n")
