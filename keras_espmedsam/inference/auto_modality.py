"""Where `segment` is given "auto": a classifier finds each image's modality."""

import os
import threading

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.preset_registry import builtin_presets
from keras_espmedsam.inference.recognition import AUTO, DEFAULT_RECOGNIZER, check_classes, decide
from keras_espmedsam.models.tic.tic_image_classifier import TiCImageClassifier

# Kept here and not by a segmenter, which would save, count and train it as a part of itself.
_KEPT = {}
_LOADING = threading.Lock()

# Refused images that are described one by one in an error.
_DESCRIBED = 3


def fill_in(modalities, images, segmenter, recognizer=None, batch_size=8, intensity=None):
    """Replace every "auto" by the modality that its image is recognised as.

    Nothing is loaded where there is no "auto".

    Args:
        modalities: as `ESPMedSAMImageSegmenter.segment` takes them.
        images: list of arrays.
        segmenter: `ESPMedSAMImageSegmenter`, for the modalities that it knows.
        recognizer: `TiCImageClassifier`, the name or folder of its preset, or `None`.
        batch_size: int. Images per forward pass.
        intensity: what is black and white, or `None`; see `segment`.

    Returns:
        The modalities, for `segmenter.modality_indices`, and a list with the confidence of each
        recognised one, `None` for the others.

    Raises:
        InputError: for images of which no modality is recognised that the segmenter knows.

    Source: ours.
    """
    confidences = [None] * len(images)
    if _is_auto(modalities):
        modalities = [AUTO] * len(images)
    elif modalities is None or np.ndim(modalities) == 0:
        return modalities, confidences
    unknown = [i for i, modality in enumerate(modalities) if _is_auto(modality)]
    if not unknown or len(modalities) != len(images):  # A wrong number is told later.
        return modalities, confidences
    given = [modality for modality in modalities if not _is_auto(modality)]
    segmenter.modality_indices(given, len(given))  # A wrong name is told before anything is loaded.

    classifier = load_recognizer(recognizer)
    check_classes(classifier.class_names, segmenter.modalities)
    chosen = [images[i] for i in unknown]
    # A classifier of one's own need not know of it.
    said = {} if intensity is None else {"intensity": intensity}
    found = classifier.classify(chosen, batch_size=batch_size, **said)
    blank = found.get("blank", [False] * len(chosen))
    names = list(modalities)
    refusals = []
    for i, probabilities, empty in zip(unknown, found["probabilities"], blank, strict=True):
        recognition = decide(
            probabilities,
            classifier.class_names,
            classifier.min_confidence,
            segmenter.modalities,
            empty,
        )
        names[i], confidences[i] = recognition.modality, recognition.confidence
        if recognition.refusal:
            which = "The image" if len(images) == 1 else f"images[{i}]"
            refusals.append(f"{which} {recognition.refusal}")
    if refusals:
        more = len(refusals) - _DESCRIBED
        described = "; ".join(refusals[:_DESCRIBED]) + (f"; and {more} more" if more > 0 else "")
        raise InputError(
            f"{described}. Give the modality: {', '.join(segmenter.modalities)}; or leave out "
            "what is none of them."
        )
    return names, confidences


def load_recognizer(recognizer=None):
    """The classifier that is meant; a built-in one is loaded once and kept.

    Args:
        recognizer: `TiCImageClassifier`, the name or folder of its preset, or `None` for
            `tic_tiny_modality`.

    Returns:
        `TiCImageClassifier`.

    Raises:
        InputError: for anything else, and for a preset that cannot be loaded.

    Source: ours.
    """
    if hasattr(recognizer, "classify"):
        return recognizer
    if recognizer is not None and not isinstance(recognizer, str | os.PathLike):
        raise InputError(
            f"Received a recognizer of type {type(recognizer).__name__}; expected a "
            "TiCImageClassifier, or the name or folder of its preset."
        )
    name = DEFAULT_RECOGNIZER if recognizer is None else os.fspath(recognizer)
    with _LOADING:
        if name in _KEPT:
            return _KEPT[name]
        classifier = TiCImageClassifier.from_preset(name)
        if name in builtin_presets():  # A folder can be written anew.
            _KEPT[name] = classifier
        return classifier


def _is_auto(modality):
    return isinstance(modality, str) and modality == AUTO
