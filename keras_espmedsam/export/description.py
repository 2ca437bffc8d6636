"""Describe an artefact so that it can be used alone: in the file, and as JSON next to it."""

import hashlib
import os
import re
from pathlib import Path, PureWindowsPath

import keras_espmedsam
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.target_planes import labels_by_group, num_planes
from keras_espmedsam.hub.built_in_presets import card_licence, versioned_name
from keras_espmedsam.imaging.postprocessing import checked_postprocessing
from keras_espmedsam.inference.test_time import converter_of
from keras_espmedsam.models.image_converter import NORMALIZATIONS

UNKNOWN_LICENCE = "unknown"
_CHANNELS = (
    "one plane for each name in `channels`; those not in `targets` are hidden maps that tell "
    "objects apart"
)


def describe(task, request, preset=None, licence=None):
    """Describe an artefact and its inputs and outputs.

    Args:
        task: the segmenter or classifier.
        request: `ExportRequest`.
        preset: str or None. Name of the preset, or its folder.
        licence: str or None. `None` takes it from the preset's card.

    Returns:
        dict, ready for JSON.
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
        found |= _targets(task, request)
        found["outputs"] = _outputs(request, task.target_set, task.backbone.self_prompt_targets)
        if task.quality:
            found["predicts_quality"] = {name: list(of) for name, of in task.quality.items()}
            found["outputs"]["quality"] = {
                "dtype": "float32",
                "shape": [None, task.target_set.num_channels],
                "values": "the Dice that each mask is predicted to have, 0 to 1; 0 for a target "
                "that is not in `predicts_quality`",
            }
        if task.scope:
            scoped = _scoped(task, request)
            found |= {"tells_scope": scoped} if scoped else {}
            found["outputs"]["scope_score"] = {
                "dtype": "float32",
                "shape": [None],
                "values": "1 or less for an image like those that the model was fitted to; it "
                "means nothing for a modality that is not in `tells_scope`",
            }
        found["threshold"] = 0.5
    else:
        found["class_names"] = list(task.class_names or map(str, range(task.num_classes)))
        found["min_confidence"] = task.min_confidence
        name = "probabilities" if request.flavor == "images" else "logits"
        found["outputs"] = {name: {"dtype": "float32", "shape": [None, task.num_classes]}}
    return found


def targets_of(description):
    """Return the targets of an artefact; by default one unnamed target for each modality.

    Args:
        description: dict of a segmenter's artefact.

    Returns:
        `Targets`.

    Raises:
        InputError: for targets that contradict each other, or the artefact's outputs.

    Example:
        >>> targets_of({"modalities": ["eye"], "targets": {"eye": ["disc", "cup"]}}).num_channels
        2
    """
    given = {name: description.get(name) for name in ("exclusive", "nested", "instances")}
    targets = Targets.of_modalities(
        tuple(description["modalities"]), description.get("targets"), **given
    )
    listed = description.get("channels")
    for modality in targets.modalities:
        own = targets.channels(modality)
        if listed is not None and tuple(listed.get(modality, ())) != own:
            raise InputError(
                f"Its targets of {modality} need the channels {', '.join(own)}, but it lists "
                f"{', '.join(map(str, listed.get(modality, ()))) or 'none'}."
            )
    name = "masks" if description.get("flavor") == "logits" else "probabilities"
    shape = ((description.get("outputs") or {}).get(name) or {}).get("shape")
    if shape is not None:
        count = shape[3] if len(shape) == 4 else 1
        if count != targets.num_channels:
            raise InputError(
                f"Its {name} have {_number(count, 'channel')}, but its targets need "
                f"{targets.num_channels}."
            )
    return targets


def _number(count, what):
    return f"{count} {what}{'' if count == 1 else 's'}"


def _targets(task, request):
    """Return what differs from one unnamed target for each modality, as in version 0.1.0."""
    targets = task.target_set
    found = {}
    if not targets.is_default:
        config = targets.config()
        found["targets"] = {name: list(own) for name, own in targets.names.items()}
        found["channels"] = {name: list(targets.channels(name)) for name in targets.names}
        found |= {name: config[name] for name in config if name != "targets"}
    rules = checked_postprocessing(task.postprocessing, targets)
    if rules:
        found["postprocessing"] = rules
    if getattr(task, "probability_calibration", None):
        found["probability_calibration"] = task.probability_calibration
    guarantees = _guarantees(task, request)
    if guarantees:
        found["guarantees"] = guarantees
    return found


def _guarantees(task, request):
    """Return the guarantees that hold for the exported weights and size."""
    if request.precision == "int8":
        return {}
    return {
        name: of_targets
        for name, of_targets in (getattr(task, "guarantees", None) or {}).items()
        if _size_of(task, name) == request.size
    }


def _scoped(task, request):
    """Return the modalities whose scope was fitted for the exported weights and size."""
    if request.precision == "int8":
        return []
    return [name for name in task.scope if _size_of(task, name) == request.size]


def _size_of(task, modality):
    return converter_of(task.preprocessor.image_converter, modality).image_size


def _outputs(request, targets, self_prompts):
    height, width = request.size or (None, None)
    size = [None, height, width]
    channels = targets.num_channels
    one = channels == 1
    if request.flavor != "images":
        values = f"logits, -inf beyond a modality's own; {_CHANNELS}"
        maps = channels if self_prompts == "each" else 1
        patches = [None, height and height // 32, width and width // 32, maps]
        return {
            "masks": {
                "dtype": "float32",
                "shape": [*size, channels],
                **({} if one else {"values": values}),
            },
            "patches": {"dtype": "float32", "shape": patches},
        }
    if one:
        return {
            "masks": {"dtype": "uint8", "shape": size, "values": "0 or 1"},
            "probabilities": {"dtype": "float32", "shape": size},
        }
    found = {
        "masks": {
            "dtype": "uint8",
            "shape": [*size, num_planes(targets)],
            "values": "0 or 1; one plane for each name in `targets`, 0 beyond a modality's own",
        },
        "probabilities": {
            "dtype": "float32",
            "shape": [*size, channels],
            "values": f"0 to 1, 0 beyond a modality's own; {_CHANNELS}",
        },
    }
    groups = len(labels_by_group(targets))
    if groups:
        found["labels"] = {
            "dtype": "uint8",
            "shape": size if groups == 1 else [*size, groups],
            "values": "0 for background, then from 1 the targets of a group in `exclusive`",
        }
    return found


def preset_name(preset):
    """Return a preset's name for an artefact, without the exporting machine's paths.

    Args:
        preset: str, path or None: a name, a folder, or an address.

    Returns:
        str or None: for a folder the last part of its path, for a built-in name the name with its
        version; others unchanged.

    Example:
        >>> preset_name("/home/somebody/trials/eye_7/"), preset_name("tic_tiny")
        ('eye_7', 'tic_tiny@1')
    """
    if preset is None:
        return None
    preset = versioned_name(preset)
    if re.match(r"[a-z]+://", preset) and not preset.startswith("file:"):
        return preset
    # Handles paths of any system; "." and ".." become the names of their folders.
    name = PureWindowsPath(preset).name if "\\" in preset else Path(preset).name
    return name if name not in ("", "..") else Path(os.path.abspath(preset)).name


def _card_licence(preset):
    try:
        return None if preset is None else card_licence(preset)
    except InputError:  # A custom name.
        return None


def checksums(format, path):
    """Return the SHA-256 of each file of an artefact, by its name within the parent folder.

    Args:
        format: `ExportFormat`.
        path: the artefact.
    """
    return {
        file.relative_to(Path(path).parent).as_posix(): hashlib.sha256(
            file.read_bytes()
        ).hexdigest()
        for file in format.files(path)
    }
