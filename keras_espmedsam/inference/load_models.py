"""Models that are given by name: a segmenter, or what recognises modalities for it."""

import os
import sys
import threading
from typing import Any

from keras_espmedsam._shown import shown
from keras_espmedsam._startup import first_line
from keras_espmedsam._upward import upward
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, resolve_preset
from keras_espmedsam.hub.saved_config import check_configs, read_config
from keras_espmedsam.inference.precision import check_precision, dtype_policy
from keras_espmedsam.inference.recognition import DEFAULT_RECOGNIZER

# Kept here and not by a segmenter, which would save, count and train it as a part of itself.
_KEPT: dict[str, Any] = {}
_LOADING = threading.Lock()


def load_segmenter(segmenter: Any, precision: str | None = None, trust: bool = False) -> Any:
    """The segmenter that is meant.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, an `ExportedSegmenter`, or an object with their
            `segment` and `modalities`; the name, folder or address (`hf://`, `kaggle://`) of a
            preset; or the path of an artefact of `export_for`.
        precision: what a model that is named computes in, `"float32"` or `"bfloat16"`: of a
            preset Keras' policy `mixed_bfloat16`, of an artefact what its runtime is asked for.
            `None` is Keras' current policy, and float32 of an artefact.
        trust: whether an artefact that is named may do anything, as a program may; else it is
            refused where it asks for more than mathematics, or for too much of that.

    Returns:
        What was given, or what it names.

    Raises:
        InputError: for anything else, for what cannot be loaded, and for a precision that it
            cannot compute in, or that is given with a segmenter that is loaded already.

    Example:
        >>> load_segmenter("espmedsam_nano_256").modalities[:2]
        ('dermoscopy', 'xray')

    Source: ours.
    """
    check_precision(precision)
    if hasattr(segmenter, "segment") and not isinstance(segmenter, type):
        if precision is not None:
            raise InputError(
                f"Received precision={precision!r} with a segmenter that is loaded already; give "
                "the name or path of the model, or load it so: from_preset(..., "
                f"dtype={dtype_policy(precision)!r}), ExportedSegmenter(..., "
                f"precision={precision!r})."
            )
        return segmenter
    preset = _name(segmenter, "segmenter", "an ESPMedSAMImageSegmenter, an ExportedSegmenter")
    if is_artefact(preset):
        return upward("ExportedSegmenter")(preset, precision or "float32", trust=trust)
    return _from_preset("ESPMedSAMImageSegmenter", preset, precision)


def load_recognizer(recognizer: Any = None) -> Any:
    """The classifier that is meant; a built-in one is loaded once and kept.

    Args:
        recognizer: `TiCImageClassifier`, or an object with its `classify`, `class_names` and
            `min_confidence`; the name or folder of its preset; or `None` for
            `tic_tiny_modality`.

    Returns:
        `TiCImageClassifier`.

    Raises:
        InputError: for anything else, and for a preset that cannot be loaded.

    Source: ours.
    """
    if hasattr(recognizer, "classify") and not isinstance(recognizer, type):
        return recognizer
    if recognizer is None:
        recognizer = DEFAULT_RECOGNIZER
    name = _name(recognizer, "recognizer", "a TiCImageClassifier")
    with _LOADING:
        if name in _KEPT:
            return _KEPT[name]
        classifier = _from_preset("TiCImageClassifier", name)
        if name in builtin_presets():  # A folder can be written anew.
            _KEPT[name] = classifier
        return classifier


def load_task(preset: str | os.PathLike) -> Any:
    """Whatever a preset holds.

    Args:
        preset: its name, folder or address.

    Returns:
        An `ESPMedSAMImageSegmenter` or a `TiCImageClassifier`.

    Raises:
        InputError: when there is no such preset, or it cannot be loaded.

    Example:
        >>> load_task("tic_tiny_modality").is_segmenter
        False

    Source: ours.
    """
    name = "ESPMedSAMImageSegmenter"
    try:
        name = read_config(resolve_preset(preset), "task.json")["class_name"]
    except (InputError, KeyError):
        pass  # An address, or what is told when it is loaded.
    classifies = name == "TiCImageClassifier"
    return _from_preset(name if classifies else "ESPMedSAMImageSegmenter", preset)


def check_name(preset: str | os.PathLike, precision: str | None = None) -> None:
    """Refuse a name that stands for nothing, before the seconds that Keras takes to start.

    Args:
        preset: as `load_segmenter` takes it.
        precision: as `load_segmenter` takes it.

    Raises:
        InputError: when there is no such preset or artefact, and for a precision that it cannot
            compute in.

    Example:
        >>> check_name("espmedsam_nano_256")

    Source: ours.
    """
    chosen = upward("format_of")(preset)
    check_precision(precision, chosen)
    if chosen is None:
        folder = resolve_preset(preset)
        if "://" not in folder:
            check_configs(folder)


def is_artefact(path: str | os.PathLike) -> bool:
    """Whether a path is that of an exported model, and no preset.

    Example:
        >>> is_artefact("eye.onnx"), is_artefact("espmedsam_nano_256")
        (True, False)

    Source: ours.
    """
    return upward("format_of")(path) is not None


def _name(value, argument, expected):
    if not isinstance(value, str | os.PathLike):
        raise InputError(
            f"Received a {argument} of type {type(value).__name__}; expected {expected}, or the "
            "name or folder of its preset."
        )
    return os.fspath(value)


def _from_preset(class_name, preset, precision=None):
    if "keras" not in sys.modules:
        resolve_preset(preset)  # A wrong name is told before Keras starts; else by `from_preset`.
    model_class = upward(class_name)
    try:
        if precision is None:
            return model_class.from_preset(preset)
        return model_class.from_preset(preset, dtype=dtype_policy(precision))
    except InputError:
        raise
    # A damaged folder or a failed download raises nearly anything.
    except Exception as error:
        raise InputError(
            f"The preset {preset} cannot be loaded ({type(error).__name__}: "
            f"{shown(first_line(error), 200)}). "
            "See `espmedsam presets` for the built-in ones."
        ) from error
