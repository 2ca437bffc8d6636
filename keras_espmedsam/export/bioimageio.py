"""Write a model package of bioimage.io: ONNX weights with their description and test images."""

import io
import json
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from keras_espmedsam._files import atomic_path
from keras_espmedsam.errors import InputError
from keras_espmedsam.export._export_model import export_model
from keras_espmedsam.export.bioimageio_description import (
    LICENCE_FILE,
    describe_package,
    document,
    licence_text,
)
from keras_espmedsam.export.comparison import made_image
from keras_espmedsam.export.formats import get_format
from keras_espmedsam.export.onnx_graph_outputs import keep_outputs

PRECISIONS = ("float32", "float16")
OUTPUTS = ("masks", "probabilities")


def export_bioimageio(
    task,
    path,
    size=None,
    modality=None,
    precision="float32",
    overwrite=False,
    preset=None,
    licence=None,
    report=None,
    authors=(),
):
    """Write a segmenter as a package that bioimage.io's tools read: a ZIP file with an rdf.yaml.

    It has one modality, and takes images of one size: uint8 RGB, batch, y, x and channel. Its
    outputs are `masks` and `probabilities`, as of other exports. The network is written, run and
    compared by `export_model`; the test tensors are what ONNX Runtime gives.

    Args:
        task: `ESPMedSAMImageSegmenter`.
        path: the file to write, which ends in .zip.
        size: (height, width), multiples of 32; `None` is the modality's own.
        modality: name or index; needed if the model has several.
        precision: `"float32"` or `"float16"`, in which weights are stored.
        overwrite: bool. Whether to replace a file at `path`.
        preset, licence, report: see `export_model`.
        authors: names of those who made the weights.

    Returns:
        dict: the rdf.yaml, and `path`.

    Raises:
        InputError: for options that the model does not support, and a missing library.

    Source: bioimage.io's specification of models, version 0.5.
    """
    path = Path(os.fspath(path))
    if path.suffix != ".zip":
        raise InputError(
            f"Received the package {path}; its name must end in .zip, such as "
            f"{path.with_suffix('.zip')}."
        )
    if not getattr(task, "is_segmenter", False):
        raise InputError("A classifier gives no image; bioimage.io's packages are of segmenters.")
    if precision not in PRECISIONS:
        raise InputError(
            f"Received the precision {precision!r} for a package of bioimage.io; expected "
            f"{' or '.join(PRECISIONS)}."
        )
    if modality is None and task.takes_modalities:
        raise InputError(
            f"A package of bioimage.io has one modality; give one of {', '.join(task.modalities)}."
        )
    if size == "any":
        raise InputError("A package of bioimage.io has one image size; give it, or leave it out.")
    if not overwrite and os.path.lexists(path):
        raise InputError(f"{path} already exists; give another name, or ask to overwrite it.")
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder) / "model.onnx"
        about = export_model(
            task,
            "onnx",
            network,
            size=size,
            modality=modality,
            precision=precision,
            preset=preset,
            licence=licence,
            report=report,
        )
        del about["path"]
        keep_outputs(network, OUTPUTS)
        files = _files(network, about, tuple(authors))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
                for name, content in files.items():
                    archive.writestr(name, content, zipfile.ZIP_DEFLATED)
        except OSError as error:
            raise InputError(
                f"{path} cannot be written ({error.strerror or error}); give another path, on a "
                "disk with enough space."
            ) from error
    return {**json.loads(files["rdf.yaml"]), "path": str(path)}


def _files(network, about, authors):
    """Return the content of each file of the package by its name."""
    height, width = about["inputs"]["images"]["shape"][1:3]
    image = made_image(np.random.default_rng(0), (height, width))[None]
    found = get_format("onnx").load(network)({"images": image})
    content = network.read_bytes()
    tensors = {"images": image, **{name: np.asarray(found[name]) for name in OUTPUTS}}
    # JSON is YAML, too.
    text = json.dumps(describe_package(about, content, tensors, authors), indent=1) + "\n"
    return {
        "rdf.yaml": text.encode(),
        "README.md": document(about).encode(),
        LICENCE_FILE: licence_text(about).encode(),
        "espmedsam.json": (json.dumps(about, indent=1) + "\n").encode(),
        "model.onnx": content,
        **{f"{name}.npy": _npy(value) for name, value in tensors.items()},
    }


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()
