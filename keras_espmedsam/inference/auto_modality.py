"""The modality "auto" of `segment`: a classifier recognises each image's modality."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import Intensity
from keras_espmedsam.inference.load_models import load_recognizer
from keras_espmedsam.inference.modalities import TO_RECOGNIZE
from keras_espmedsam.inference.recognition import check_classes, decide

# The most rejected images that an error message describes.
_DESCRIBED = 3


def recognize_missing(
    indices: np.ndarray,
    images: Sequence[Any] | np.ndarray,
    known: tuple[str, ...],
    recognizer: Any = None,
    batch_size: int = 8,
    intensity: Intensity | None = None,
) -> list[float | None]:
    """Recognise the modality of images that have none, and fill in their indices.

    The classifier is loaded only if it is needed.

    Args:
        indices: int32 array `(images,)`, changed in place where it is `TO_RECOGNIZE`.
        images: list of arrays.
        known: tuple of str. The segmenter's modalities.
        recognizer: `TiCImageClassifier`, the name or folder of its preset, or `None`.
        batch_size: int. Images per forward pass.
        intensity: the values shown as black and white, or `None`; see `segment`.

    Returns:
        List with the confidence of each recognised modality, `None` for the others.

    Raises:
        InputError: for images that are not recognised as one of the segmenter's modalities.
    """
    confidences: list[float | None] = [None] * len(images)
    unknown = [i for i, index in enumerate(indices) if index == TO_RECOGNIZE]
    if not unknown:
        return confidences
    classifier = load_recognizer(recognizer)
    check_classes(classifier.class_names, known)
    chosen = [images[i] for i in unknown]
    # A custom classifier need not have this argument.
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
            f"{described}. Give the modality ({', '.join(known)}), or leave out images of other "
            "kinds."
        )
    return confidences
