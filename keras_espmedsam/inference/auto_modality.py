"""Where `segment` is given "auto": a classifier finds each image's modality."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import Intensity
from keras_espmedsam.inference.load_models import load_recognizer
from keras_espmedsam.inference.modalities import TO_RECOGNIZE
from keras_espmedsam.inference.recognition import check_classes, decide

# Refused images that are described one by one in an error.
_DESCRIBED = 3


def recognize_missing(
    indices: np.ndarray,
    images: Sequence[Any] | np.ndarray,
    known: tuple[str, ...],
    recognizer: Any = None,
    batch_size: int = 8,
    intensity: Intensity | None = None,
) -> list[float | None]:
    """Put the numbers of the modalities that images are recognised as where they are missing.

    Nothing is loaded where none is.

    Args:
        indices: int32 array `(images,)`, changed in place where it is `TO_RECOGNIZE`.
        images: list of arrays.
        known: tuple of str. The modalities that the segmenter knows.
        recognizer: `TiCImageClassifier`, the name or folder of its preset, or `None`.
        batch_size: int. Images per forward pass.
        intensity: what is black and white, or `None`; see `segment`.

    Returns:
        List with the confidence of each recognised modality, `None` for the others.

    Raises:
        InputError: for images of which no modality is recognised that the segmenter knows.

    Source: ours.
    """
    confidences: list[float | None] = [None] * len(images)
    unknown = [i for i, index in enumerate(indices) if index == TO_RECOGNIZE]
    if not unknown:
        return confidences
    classifier = load_recognizer(recognizer)
    check_classes(classifier.class_names, known)
    chosen = [images[i] for i in unknown]
    # A classifier of one's own need not know of it.
    said = {} if intensity is None else {"intensity": intensity}
    found = classifier.classify(chosen, batch_size=batch_size, **said)
    blank = found.get("blank", [False] * len(chosen))
    refusals = []
    for i, probabilities, empty in zip(unknown, found["probabilities"], blank, strict=True):
        recognition = decide(
            probabilities, classifier.class_names, classifier.min_confidence, known, empty
        )
        confidences[i] = recognition.confidence
        if recognition.refusal:
            which = "The image" if len(images) == 1 else f"images[{i}]"
            refusals.append(f"{which} {recognition.refusal}")
        else:
            indices[i] = known.index(recognition.modality)
    if refusals:
        more = len(refusals) - _DESCRIBED
        described = "; ".join(refusals[:_DESCRIBED]) + (f"; and {more} more" if more > 0 else "")
        raise InputError(
            f"{described}. Give the modality: {', '.join(known)}; or leave out what is none of "
            "them."
        )
    return confidences
