"""Segment the images in the tensors of an Open Inference Protocol request."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.inference.auto_modality import recognize_missing
from keras_espmedsam.inference.chosen_targets import (
    DEFAULT_THRESHOLD,
    check_used,
    checked_targets,
    target_set_of,
    thresholds_of,
)
from keras_espmedsam.inference.guarantees import check_guarantee, check_guaranteed
from keras_espmedsam.inference.modalities import modality_indices
from keras_espmedsam.inference.recognition import AUTO
from keras_espmedsam.inference.test_time import checked_scales
from keras_espmedsam.serve.segment_query import request_scales
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.settings import ServerSettings
from keras_espmedsam.serve.tensors import InferRequest

IMAGES, MODALITIES = "images", "modalities"
_FLAGS = ("mirror", "postprocess")
_TEXTS = ("target", "guarantee", "scales")
_PARAMETERS = ("threshold", *_FLAGS, *_TEXTS)


def model_metadata(model: ServedModel) -> dict[str, Any]:
    """Return the metadata of a model in the Open Inference Protocol.

    Args:
        model: the model.

    Example:
        >>> import types
        >>> segmenter = types.SimpleNamespace(modalities=("xray",), segment=None)
        >>> [one["name"] for one in model_metadata(ServedModel("chest", segmenter))["outputs"]]
        ['masks', 'probabilities', 'modalities', 'targets']
    """
    any_size = [-1, -1, -1]
    further = []
    if getattr(model.segmenter, "quality", None):
        further.append({"name": "quality", "datatype": "FP32", "shape": [-1, -1]})
    if getattr(model.segmenter, "scope", None):
        further.append({"name": "scope_score", "datatype": "FP32", "shape": [-1]})
        further.append({"name": "in_scope", "datatype": "UINT8", "shape": [-1]})
    return {
        "name": model.name,
        "versions": ["1"],
        "platform": "keras_espmedsam",
        "inputs": [
            {"name": IMAGES, "datatype": "UINT8", "shape": [*any_size, 3]},
            {"name": MODALITIES, "datatype": "BYTES", "shape": [-1]},
        ],
        "outputs": [
            {"name": "masks", "datatype": "UINT8", "shape": [*any_size, -1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [*any_size, -1]},
            {"name": "modalities", "datatype": "BYTES", "shape": [-1]},
            {"name": "targets", "datatype": "BYTES", "shape": [-1]},
            *further,
        ],
    }


def infer(
    request: InferRequest, segmenter: Any, recognizer: Any, settings: ServerSettings
) -> dict[str, np.ndarray]:
    """Segment the images of a request.

    Args:
        request: with the input `images`, `(batch, height, width, 3)`, `(..., 1)` or without
            channels, UINT8, UINT16 or FP32 in [0, 1]; and perhaps `modalities`, one for each or one
            for all. Parameters are `threshold`, `target`, `mirror`, `scales`, `postprocess`,
            `guarantee`.
        segmenter: the segmenter.
        recognizer: the recogniser of modalities, or None.
        settings: the limits.

    Returns:
        dict of `masks`, uint8 (0 and 1) and `probabilities`, float32, both
        `(batch, height, width, targets)`; `modalities`, a text for each image; `targets`, the
        names of the masks; `quality`, float32 `(batch, targets)`, the predicted Dice, if the
        segmenter predicts that of every mask; and `scope_score`, float32, and `in_scope`, uint8
        (0 and 1), both `(batch,)`, if it tells them of every image.

    Raises:
        InputError: for tensors or parameters that cannot be used.
    """
    options = _options(request.parameters)
    target_set = target_set_of(segmenter)
    thresholds_of(options["threshold"], target_set)
    scales = options.get("scales")
    check_guarantee(options.get("guarantee"), options.get("mirror", False), scales is not None)
    checked_scales(scales, segmenter)
    wanted = checked_targets(options.get("targets"), target_set)
    images = _images(request.inputs, settings.max_pixels)
    known = tuple(segmenter.modalities)
    indices = modality_indices(
        known, _modalities(request.inputs, known, recognizer), len(images), auto=True
    )
    recognize_missing(indices, images, known, recognizer, settings.batch_size)
    names = [known[index] for index in indices]
    check_used(wanted, target_set, names)
    check_guaranteed(segmenter, options.get("guarantee"), names, wanted)
    found = segmenter.segment(images, names, batch_size=settings.batch_size, **options)
    targets = [tuple(one) for one in found.get("targets", [("mask",)] * len(images))]
    if len(set(targets)) > 1:
        raise InputError(
            f"The modalities {', '.join(dict.fromkeys(names))} have different targets, which do "
            "not fit into one tensor; send a request for each modality, or give target."
        )
    outputs = {"masks": _stacked(found["masks"], "uint8")}
    if "probabilities" in found:
        outputs["probabilities"] = _stacked(found["probabilities"], "float32")
    outputs["modalities"] = np.array(names, object)
    outputs["targets"] = np.array(targets[0], object)
    return outputs | _judged(found, targets[0])


def _judged(found: Mapping[str, Any], targets: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Return what a result says of its masks and images, as far as it says it of all."""
    outputs = {}
    quality = found.get("quality", [{}])
    if all(name in one for one in quality for name in targets):
        values = [[one[name] for name in targets] for one in quality]
        outputs["quality"] = np.array(values, "float32")
    scores = found.get("scope_score", [None])
    if None not in scores:
        outputs["scope_score"] = np.array(scores, "float32")
        outputs["in_scope"] = np.array(found["in_scope"], "uint8")
    return outputs


def _options(parameters: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {"threshold": DEFAULT_THRESHOLD}
    for name, value in parameters.items():
        if name not in _PARAMETERS:
            raise InputError(
                f"Received the parameter {shown_value(name)}{did_you_mean(name, _PARAMETERS)} This "
                f"model takes {', '.join(_PARAMETERS)}."
            )
        kinds: tuple[type, ...] = (bool,) if name in _FLAGS else (str,)
        if name == "threshold":
            kinds = (int, float)
        if type(value) not in kinds:
            raise InputError(
                f"Received the parameter {name}={shown_value(value)}; expected "
                + {bool: "true or false", str: "a text"}.get(kinds[0], "a number")
                + "."
            )
        if name == "target":
            options["targets"] = [value]
        elif name == "scales":
            if (scales := request_scales(value)) is not None:
                options[name] = scales
        else:
            options[name] = value
    if "guarantee" in options and "threshold" in parameters:
        raise InputError(
            "Received guarantee with threshold; a guarantee holds for its own thresholds, so leave "
            "one of the two out."
        )
    return options


def _images(inputs: Mapping[str, np.ndarray], max_pixels: int) -> list[np.ndarray]:
    unknown = [name for name in inputs if name not in (IMAGES, MODALITIES)]
    if unknown or IMAGES not in inputs:
        raise InputError(
            f"Received the inputs {shown_value(list(inputs))}; expected {IMAGES} and, if you know "
            f"them, {MODALITIES}."
        )
    images = inputs[IMAGES]
    if images.dtype == object or images.ndim not in (3, 4) or images.shape[3:] not in _CHANNELS:
        raise InputError(
            f"Received {IMAGES} of shape {images.shape}; expected UINT8, UINT16 or FP32 of shape "
            "(batch, height, width, 3), (batch, height, width, 1) or (batch, height, width)."
        )
    pixels = images.shape[0] * images.shape[1] * images.shape[2]
    if pixels > max_pixels:
        raise InputError(
            f"Received {IMAGES} of {pixels:,} pixels; the limit of this server is {max_pixels:,}. "
            "Send fewer or smaller images at a time, or have --max-pixels of the server raised."
        )
    if images.shape[3:] == (1,):
        images = images[..., 0]
    return list(images)


_CHANNELS = ((), (1,), (3,))


def _modalities(inputs, known, recognizer):
    """Return what was said about the modalities, for `modality_indices`."""
    given = inputs.get(MODALITIES)
    if given is None:
        if len(known) == 1:
            return None
        names: Any = AUTO
    elif given.dtype != object or given.ndim != 1:
        raise InputError(
            f"Received {MODALITIES} of shape {given.shape}; expected BYTES of shape (batch,) or "
            "(1,)."
        )
    else:
        names = given[0] if len(given) == 1 else list(given)
    if recognizer is None and len(known) > 1 and AUTO in ([names] if names == AUTO else names):
        raise InputError(
            f"The server has no recogniser of modalities; give the input {MODALITIES}, with "
            f"{', '.join(known)}."
        )
    return names


def _stacked(maps, dtype):
    return np.stack([one[..., None] if one.ndim == 2 else one for one in maps]).astype(dtype)
