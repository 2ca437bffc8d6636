"""Masks of what a layer shows: a single image, or a stack of any number of dimensions."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.load_models import load_recognizer, stored_targets
from keras_espmedsam.inference.recognition import AUTO, check_classes, decide

ALL = "all"
"""Stands for all targets of a modality."""

# As many as decide about a file of several images.
_SAMPLES = 5
_BATCH = 8


@dataclasses.dataclass(frozen=True)
class LayerMasks:
    """What was found in a layer.

    Args:
        labels: dict of target to its labels, in the shape of the layer without colours: uint8 with
            1 for the mask or, where objects are told apart, int32 with a number for each.
        modality: the modality that was used.
        confidence: the classifier's confidence in it; None if it was given.
    """

    labels: dict[str, np.ndarray]
    modality: str
    confidence: float | None


def choices(preset: str) -> dict[str, tuple[str, ...]]:
    """Return what can be chosen for a preset, without loading it.

    Args:
        preset: its name or folder, or an exported model.

    Returns:
        dict of modality to its targets, each behind a first choice: `"auto"`, which has all
        targets, and `"all"`. Only these if the preset does not tell, or is not there.

    Example:
        >>> choices("espmedsam_nano_256")["xray"]
        ('all', 'lungs', 'heart', 'clavicles')
    """
    found: dict[str, tuple[str, ...]] = {AUTO: (ALL,)}
    targets = stored_targets(preset)
    if targets is not None:
        found |= {name: (ALL, *targets.of(name)) for name in targets.modalities}
    return found


def segment_layer(
    segmenter: Any,
    data: Any,
    rgb: bool = False,
    modality: str = AUTO,
    target: str = ALL,
    threshold: float = 0.5,
    limits: Sequence[float] | None = None,
    recognizer: Any = None,
    progress: Callable[[int, int], None] | None = None,
) -> LayerMasks:
    """Segment every image of a layer.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter` or `ExportedSegmenter`.
        data: the layer's array, `(..., height, width)`, or with colours
            `(..., height, width, 3 or 4)`; it may be lazy, such as dask's. Of a pyramid, its list
            of arrays, the first one is taken.
        rgb: whether the last axis is of colours.
        modality: a name, or `"auto"`: a stack is recognised by the mean over five of its images.
        target: a name, or `"all"`.
        threshold: in [0, 1].
        limits: the values that are shown as black and white, for a layer without colours.
        recognizer: the classifier for `"auto"`; None is the built-in one.
        progress: is called with the number of images done and of all.

    Returns:
        `LayerMasks`.

    Raises:
        InputError: for an array that is not of images, and what `segment` refuses.
    """
    if isinstance(data, list | tuple) or type(data).__name__ == "MultiScaleData":
        data = data[0]
    image_axes = 3 if rgb else 2
    if len(data.shape) < image_axes or 0 in data.shape:
        raise InputError(
            f"Received a layer of shape {tuple(data.shape)}; expected images, (..., height, "
            f"width{', 3' if rgb else ''})."
        )
    places = list(np.ndindex(*data.shape[: len(data.shape) - image_axes]))

    def image(place: tuple[int, ...]) -> np.ndarray:
        return np.asarray(data[place])  # Now is when a lazy array is computed.

    intensity = None if rgb or limits is None else (float(limits[0]), float(limits[1]))
    confidence = None
    if modality == AUTO and len(segmenter.modalities) > 1:
        middle = np.linspace(0, len(places), min(_SAMPLES, len(places)) + 2)[1:-1].astype(int)
        sample = [image(places[i]) for i in dict.fromkeys(middle.tolist())]
        modality, confidence = _recognized(segmenter, sample, intensity, recognizer)
    elif modality == AUTO:
        modality = segmenter.modalities[0]
    options: dict[str, Any] = {} if target == ALL else {"targets": [target]}
    labels: dict[str, np.ndarray] = {}
    shape = tuple(data.shape)[:-1] if rgb else tuple(data.shape)
    for start in range(0, len(places), _BATCH):
        batch = places[start : start + _BATCH]
        found = segmenter.segment(
            [image(place) for place in batch],
            modality,
            threshold=threshold,
            batch_size=_BATCH,
            intensity=intensity,
            **options,
        )
        for i, place in enumerate(batch):
            _put(labels, shape, place, found, i)
        if progress is not None:
            progress(start + len(batch), len(places))
    return LayerMasks(labels, modality, confidence)


def _put(labels, shape, place, found, i):
    masks = np.atleast_3d(found["masks"][i])
    for k, name in enumerate(found["targets"][i]):
        objects = found["instances"][i].get(name)
        if name not in labels:
            labels[name] = np.zeros(shape, "uint8" if objects is None else "int32")
        labels[name][place] = masks[..., k] if objects is None else objects


def _recognized(segmenter, images, intensity, recognizer):
    classifier = load_recognizer(recognizer)
    check_classes(classifier.class_names, segmenter.modalities)
    found = classifier.classify(images, intensity=intensity)
    seen = [i for i, blank in enumerate(found["blank"]) if not blank]
    probabilities = np.asarray(found["probabilities"])
    known = decide(
        probabilities[seen] if seen else probabilities,
        classifier.class_names,
        classifier.min_confidence,
        segmenter.modalities,
        blank=not seen,
    )
    if known.refusal:
        raise InputError(f"The layer {known.refusal}. Choose the modality if you know it.")
    return known.modality, known.confidence
