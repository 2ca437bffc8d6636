"""What must be known to use an artefact alone: inside it, and as a JSON file beside it."""

import hashlib
import os
import re
from pathlib import Path, PureWindowsPath

import keras_espmedsam
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import card_licence
from keras_espmedsam.models.image_converter import NORMALIZATIONS

UNKNOWN_LICENCE = "unknown"


def describe(task, request, preset=None, licence=None):
    """What an artefact is and how it is fed.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        preset: str or None. Name of the preset, or its folder.
        licence: str or None. `None` is what the preset's card says.

    Returns:
        dict, ready for JSON.

    Source: ours.
    """
    segments = task.is_segmenter
    converter = task.preprocessor.image_converter
    mean, divisor = NORMALIZATIONS[converter.normalization]
    height, width = request.size or (None, None)
    images = {
        "dtype": request.input_dtype,
        "shape": [request.batch_size, height, width, 3],
        "values": "RGB, 0 to 255"
        if request.flavor == "images"
        else "(RGB from 0 to 255 - mean) / divisor",
    }
    inputs = {"images": images}
    found = {
        "task": "segmentation" if segments else "classification",
        "format": request.format.name,
        "precision": request.precision,
        "computes_in": list(request.format.computes_in),
        "flavor": request.flavor,
        "preset": preset_name(preset),
        "keras_espmedsam": keras_espmedsam.__version__,
        "licence": licence or _card_licence(preset) or UNKNOWN_LICENCE,
        "intended_use": "research; not a medical device",
        "normalization": {"mean": list(mean), "divisor": list(divisor)},
        "resize_mode": converter.resize_mode,
        "intensity": converter.intensity,
        "inputs": inputs,
    }
    if segments:
        found["modalities"] = list(task.modalities)
        found["size_multiple"] = converter.size_multiple
        if task.takes_modalities:
            inputs["modalities"] = {
                "dtype": "int32",
                "shape": [request.batch_size],
                "values": "index into `modalities` of this file, one per image",
            }
        found["outputs"] = (
            {
                "masks": {"dtype": "uint8", "shape": [None, height, width], "values": "0 or 1"},
                "probabilities": {"dtype": "float32", "shape": [None, height, width]},
            }
            if request.flavor == "images"
            else {
                "masks": {"dtype": "float32", "shape": [None, height, width, 1]},
                "patches": {
                    "dtype": "float32",
                    "shape": [None, height and height // 32, width and width // 32, 1],
                },
            }
        )
        found["threshold"] = 0.5
    else:
        found["class_names"] = list(task.class_names or map(str, range(task.num_classes)))
        found["min_confidence"] = task.min_confidence
        name = "probabilities" if request.flavor == "images" else "logits"
        found["outputs"] = {name: {"dtype": "float32", "shape": [None, task.num_classes]}}
    return found


def preset_name(preset):
    """How a preset is called in an artefact: no path of the machine that exported it travels.

    Args:
        preset: str, path or None: a name, a folder, or an address.

    Returns:
        str or None: of a folder the last part of its path; others as they are.

    Example:
        >>> preset_name("/home/somebody/trials/eye_7/"), preset_name("hf://lab/eye")
        ('eye_7', 'hf://lab/eye')

    Source: ours.
    """
    if preset is None:
        return None
    preset = os.fspath(preset)
    if re.match(r"[a-z]+://", preset) and not preset.startswith("file:"):
        return preset
    # As of a path on any system; "." and ".." are the folders that they stand for.
    name = PureWindowsPath(preset).name if "\\" in preset else Path(preset).name
    return name if name not in ("", "..") else Path(os.path.abspath(preset)).name


def _card_licence(preset):
    try:
        return None if preset is None else card_licence(preset)
    except InputError:  # A name that its maker alone knows.
        return None


def checksums(format, path):
    """SHA-256 of each file of an artefact, by its name within the folder that holds it.

    Args:
        format: `ExportFormat`.
        path: the artefact.

    Source: ours.
    """
    return {
        file.relative_to(Path(path).parent).as_posix(): hashlib.sha256(
            file.read_bytes()
        ).hexdigest()
        for file in format.files(path)
    }
