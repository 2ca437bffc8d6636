"""Load a segmenter, or the classifier that recognises modalities, by name."""

import os
import sys
import threading
from pathlib import Path
from typing import Any

from keras_espmedsam._shown import shown
from keras_espmedsam._startup import first_line
from keras_espmedsam._upward import upward
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets, resolve_preset, versioned_name
from keras_espmedsam.hub.json_file import read_json
from keras_espmedsam.hub.local_preset import local_preset
from keras_espmedsam.hub.saved_config import check_configs, read_config
from keras_espmedsam.inference.precision import check_precision, dtype_policy
from keras_espmedsam.inference.recognition import DEFAULT_RECOGNIZER

# Kept here, because a segmenter would save, count and train it as a part of itself.
_KEPT: dict[str, Any] = {}
_LOADING = threading.Lock()
# The keys of `Targets.config`, which a segmenter's configuration has.
_TARGET_KEYS = ("targets", "exclusive", "nested", "instances")


def load_segmenter(segmenter: Any, precision: str | None = None, trust: bool = False) -> Any:
    """Load a segmenter, or return it if it is loaded already.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, an `ExportedSegmenter`, or an object with their
            `segment` and `modalities`; the name, folder or address (`hf://`, `kaggle://`) of a
            preset; or the path of a model exported with `export_for`.
        precision: the data type that a loaded model computes in, `"float32"` or `"bfloat16"`
            (for a preset, Keras' policy `mixed_bfloat16`). `None` is Keras' current policy, and
            float32 for an exported model.
        trust: whether an exported model may do anything, like a program; otherwise it is rejected
            if it does more than compute, or computes too much.

    Returns:
        The segmenter.

    Raises:
        InputError: when it is none of these or cannot be loaded, cannot compute in the precision,
            or a precision is given with a segmenter that is loaded already.

    Example:
        >>> load_segmenter("espmedsam_nano_256").modalities[:2]
        ('dermoscopy', 'xray')
    """
    check_precision(precision)
    if hasattr(segmenter, "segment") and not isinstance(segmenter, type):
        if precision is not None:
            raise InputError(
                f"Received precision={precision!r} with a segmenter that is loaded already; give "
                "the name or path of the model, or load it with from_preset(..., "
                f"dtype={dtype_policy(precision)!r}) or ExportedSegmenter(..., "
                f"precision={precision!r})."
            )
        return segmenter
    preset = _name(segmenter, "segmenter", "an ESPMedSAMImageSegmenter, an ExportedSegmenter")
    if is_artefact(preset):
        return upward("ExportedSegmenter")(preset, precision or "float32", trust=trust)
    return _from_preset("ESPMedSAMImageSegmenter", preset, precision)


def load_recognizer(recognizer: Any = None) -> Any:
    """Load a modality classifier, or return it if it is loaded already.

    A built-in preset is loaded once and kept.

    Args:
        recognizer: `TiCImageClassifier`, or an object with its `classify`, `class_names` and
            `min_confidence`; the name or folder of its preset; or `None` for
            `tic_tiny_modality`.

    Returns:
        `TiCImageClassifier`.

    Raises:
        InputError: when it is none of these, or cannot be loaded.
    """
    if hasattr(recognizer, "classify") and not isinstance(recognizer, type):
        return recognizer
    if recognizer is None:
        recognizer = DEFAULT_RECOGNIZER
    name = _name(recognizer, "recognizer", "a TiCImageClassifier")
    with _LOADING:
        if (versioned := versioned_name(name)) in _KEPT:
            return _KEPT[versioned]
        classifier = _from_preset("TiCImageClassifier", name)
        # The content of a folder can change.
        if versioned.rpartition("@")[0] in builtin_presets():
            _KEPT[versioned] = classifier
        return classifier


def load_task(preset: str | os.PathLike) -> Any:
    """Load the model of a preset, a segmenter or a classifier.

    Args:
        preset: the preset's name, folder or address.

    Returns:
        An `ESPMedSAMImageSegmenter` or a `TiCImageClassifier`.

    Raises:
        InputError: when there is no such preset, or it cannot be loaded.

    Example:
        >>> load_task("tic_tiny_modality").is_segmenter
        False
    """
    folder = local_preset(resolve_preset(preset), load_weights=False)
    name = "ESPMedSAMImageSegmenter"
    try:
        name = read_config(folder, "task.json")["class_name"]
    except (InputError, KeyError):
        pass  # Reported when it is loaded.
    classifies = name == "TiCImageClassifier"
    return _from_preset(name if classifies else "ESPMedSAMImageSegmenter", preset)


def check_name(preset: str | os.PathLike, precision: str | None = None) -> None:
    """Check the name of a preset without starting Keras, which takes seconds.

    Args:
        preset: as for `load_segmenter`.
        precision: as for `load_segmenter`.

    Raises:
        InputError: when there is no such preset or exported model, or it cannot compute in the
            precision.

    Example:
        >>> check_name("espmedsam_nano_256")
    """
    chosen = upward("format_of")(preset)
    check_precision(precision, chosen)
    if chosen is None:
        # For an address, this is before the weights are downloaded.
        check_configs(local_preset(resolve_preset(preset), load_weights=False))


def stored_targets(preset: str | os.PathLike) -> Targets | None:
    """Return the targets of a segmenter's preset, without starting Keras.

    Args:
        preset: as for `load_segmenter`.

    Returns:
        `Targets`, or None where the preset or the exported model does not tell.

    Example:
        >>> stored_targets("espmedsam_nano_256@1").of("fundus")
        ('mask',)
    """
    try:
        if is_artefact(preset):
            # The description next to it, which has the same keys.
            path = Path(preset)
            config = read_json(path.with_name(f"{path.name}.json"), "The description")
        else:
            folder = local_preset(resolve_preset(preset), load_weights=False)
            config = read_config(folder)["config"]
        parts = {key: config[key] for key in _TARGET_KEYS if key in config}
        return Targets.of_modalities(tuple(config["modalities"]), **parts)
    except (InputError, KeyError, TypeError):
        return None  # It is no segmenter, or damaged, which is reported when it is loaded.


def is_artefact(path: str | os.PathLike) -> bool:
    """Return whether a path is an exported model rather than a preset.

    Example:
        >>> is_artefact("eye.onnx"), is_artefact("espmedsam_nano_256")
        (True, False)
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
        resolve_preset(preset)  # Reports a wrong name before Keras starts.
    model_class = upward(class_name)
    try:
        if precision is None:
            return model_class.from_preset(preset)
        return model_class.from_preset(preset, dtype=dtype_policy(precision))
    except InputError:
        raise
    # A damaged folder or a failed download can raise nearly anything.
    except Exception as error:
        raise InputError(
            f"The preset {preset} cannot be loaded ({type(error).__name__}: "
            f"{shown(first_line(error), 200)}). "
            "See `espmedsam presets` for the built-in ones."
        ) from error
