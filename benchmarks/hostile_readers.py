"""How each kind of file is read, in a worker of `hostile_files.py`.

Of each kind there is a function that imports what it needs, makes what else is read in a folder of
its own, and gives a callable from a file's path to what is wrong, `""` for nothing. What is slow
the first time alone it does before.
"""

import functools
import itertools
import json
import os
import shutil

import numpy as np
from hostile_models import (
    PRESET_FILES,
    SIDE,
    description,
    make_preset,
    run_seeds,
    trained_model,
)


def _image_reader(folder):
    from keras_espmedsam.data import read_images

    def read(path):
        for image in itertools.islice(read_images(path), 20):
            array = image.array
            if array.ndim not in (2, 3) or not array.size or image.size != array.shape[:2]:
                return f"an image of {array.shape}"
            if array.dtype == np.float32:
                if not (array.min() >= 0 and array.max() <= 1):
                    return f"values from {array.min()} to {array.max()}"
            elif array.dtype not in (np.uint8, np.uint16):
                return f"values of type {array.dtype}"
        return ""

    return read


def _index_reader(folder):
    from PIL import Image

    from keras_espmedsam.data import read_index

    Image.new("L", (6, 4)).save(folder / "a.png")

    def read(path):
        return "" if read_index(_put(path, folder / "index.csv")) else "no record"

    return read


def _settings_reader(folder, kind):
    from keras_espmedsam.distillation.config import DistillConfig
    from keras_espmedsam.training.config.settings import load_settings
    from keras_espmedsam.training.config.train_config import TrainConfig

    config = {"training": TrainConfig, "distillation": DistillConfig}[kind]
    os.chdir(folder)  # paths in a configuration are relative to here
    (folder / "index.csv").touch()
    (folder / "data").mkdir()

    def read(path):
        load_settings(config, path)
        return ""

    return read


def _checkpoint_reader(folder):
    from keras_espmedsam.converters.reader import read_checkpoint

    def read(path):
        start = path.read_bytes()[:2]
        suffix = ".pth" if start in (b"PK", b"\x80\x02") else ".safetensors"
        tensors = read_checkpoint(_put(path, folder / f"weights{suffix}"))
        finite = all(np.isfinite(one).all() for one in tensors.values())
        return "" if finite else "numbers that are none"

    return read


def _preset_reader(folder, name):
    """The preset with that one of its files; it is built, with its weights."""
    import keras_espmedsam as kem

    preset = make_preset(folder / "preset")
    if name != "SHA256SUMS":  # It would say so of every damaged file.
        (preset / "SHA256SUMS").unlink()
    load = kem.models.ESPMedSAMImageSegmenter.from_preset
    load(preset)

    def read(path):
        return _finite(load(_put(path, preset / name).parent))

    return read


def _adapter_reader(folder):
    import keras_espmedsam as kem

    preset = make_preset(folder / "preset")
    load = kem.models.ESPMedSAMBackbone.from_preset
    plain = load(preset)

    def read(path):
        nonlocal plain
        plain.load_lora_weights(_put(path, folder / "some.lora.h5"))
        adapted, plain = plain, load(preset)
        return _finite(adapted)

    return read


def _run_reader(folder, name):
    from keras_espmedsam.training import RunFolder

    for other, content in run_seeds().items():
        (folder / other).write_bytes(content)

    def read(path):
        _put(path, folder / name)
        model, run = trained_model(), RunFolder(folder, monitor="loss")
        if name == "state.npz":
            run.restore(model)
            if not (1 <= run.epoch <= 10**6 and isinstance(run.history["loss"], list)):
                return f"epoch {run.epoch}"
        else:
            run.load_best(model)
        return _finite(model)

    return read


def _description_reader(folder):
    from keras_espmedsam.export.artefact_files import read_description

    artefact = folder / "model.onnx"
    artefact.write_bytes(b"no model")

    def read(path):
        _put(path, folder / "model.onnx.json")
        read_description(artefact)
        return ""

    return read


def _artefact_reader(folder):
    from keras_espmedsam.export.exported_segmenter import ExportedSegmenter

    said = description()
    del said["sha256"], said["inputs"]["modalities"]
    said["flavor"], said["modalities"] = "images", ["xray"]
    (folder / "model.onnx.json").write_text(json.dumps(said))
    image = np.full((SIDE, SIDE, 3), 128, "uint8")

    def read(path):
        segmenter = ExportedSegmenter(_put(path, folder / "model.onnx"))
        mask = segmenter.segment(image, "xray")["masks"]
        return "" if mask.shape == (SIDE, SIDE) else f"a mask of {mask.shape}"

    return read


def _put(path, place):
    shutil.copyfile(path, place)
    return place


def _finite(model):
    import keras

    for weight in model.weights:
        if not np.isfinite(keras.ops.convert_to_numpy(weight)).all():
            return f"{weight.path} holds numbers that are none"
    return ""


_IMAGES = ("PNG", "JPEG", "BMP, GIF, PPM, WebP", "TIFF", "DICOM", "NIfTI")

READERS = {
    **dict.fromkeys(_IMAGES, _image_reader),
    "index": _index_reader,
    **{
        f"configuration of {kind}": functools.partial(_settings_reader, kind=kind)
        for kind in ("training", "distillation")
    },
    "checkpoint": _checkpoint_reader,
    "adapters": _adapter_reader,
    "state of a run": functools.partial(_run_reader, name="state.npz"),
    "weights of a run": functools.partial(_run_reader, name="best.weights.h5"),
    **{f"preset: {name}": functools.partial(_preset_reader, name=name) for name in PRESET_FILES},
    "artefact: description": _description_reader,
    "artefact: ONNX": _artefact_reader,
}
