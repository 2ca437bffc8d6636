"""Decide an image's modality from a classifier's probabilities.

This works without Keras, for both the segmenter and the command line.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError

AUTO = "auto"
"""Give this instead of a modality to have it recognised."""

DEFAULT_RECOGNIZER = "tic_tiny_modality"
"""The preset that recognises modalities by default."""


@dataclasses.dataclass(frozen=True)
class Recognition:
    """The recognised modality of an image.

    Args:
        modality: str. The most probable class.
        confidence: float in [0, 1]. Its probability.
        refusal: str. Why it cannot be used, as the end of a sentence that begins with the image;
            empty if it can be used.
    """

    modality: str
    confidence: float
    refusal: str = ""


BLANK = "has nearly the same brightness everywhere, so its modality cannot be recognised"
"""Why a blank image is rejected, as the end of a sentence that begins with the image."""


def decide(
    probabilities: Any,
    class_names: Sequence[str],
    min_confidence: float,
    modalities: Sequence[str],
    blank: bool = False,
) -> Recognition:
    """Choose the most probable class as an image's modality, or say why it is rejected.

    Args:
        probabilities: array `(num_classes,)`, or `(images, num_classes)` for several images of
            the same modality, whose mean decides.
        class_names: tuple of str.
        min_confidence: float. The lowest accepted probability.
        modalities: tuple of str. The segmenter's modalities.
        blank: bool. Whether the image is blank, so that it is rejected in any case.

    Returns:
        `Recognition`.

    Example:
        >>> found = decide([0.1, 0.9], ("xray", "fundus"), 0.8, ("xray", "fundus"))
        >>> found.modality, found.confidence, found.refusal
        ('fundus', 0.9, '')
        >>> decide([0.4, 0.6], ("xray", "fundus"), 0.8, ("xray", "fundus")).refusal
        'was not recognised: fundus 0.60, xray 0.40 (at least 0.8 is needed)'
    """
    mean = np.mean(np.reshape(probabilities, (-1, len(class_names))), axis=0)
    order = np.argsort(-mean, kind="stable")
    name, confidence = class_names[order[0]], float(mean[order[0]])
    # Compared in float32, like the probabilities. `not >=` also rejects NaN.
    if blank:
        refusal = BLANK
    elif not np.float32(confidence) >= np.float32(min_confidence):
        candidates = [i for rank, i in enumerate(order) if rank < 2 or mean[i] >= 0.01]
        listed = ", ".join(f"{class_names[i]} {shown(mean[i], 2)}" for i in candidates)
        refusal = f"was not recognised: {listed} (at least {min_confidence:.3g} is needed)"
    elif name not in modalities:
        refusal = (
            f"was recognised as {name} ({shown(confidence)}), which this segmenter does not know "
            f"(it knows {', '.join(modalities)})"
        )
    else:
        refusal = ""
    return Recognition(name, confidence, refusal)


def check_classes(class_names: Sequence[str] | None, modalities: Sequence[str]) -> None:
    """Check that a recogniser and a segmenter have a modality in common.

    Args:
        class_names: tuple of str, or `None`. The recogniser's classes.
        modalities: tuple of str. The segmenter's modalities.

    Raises:
        InputError: when they have no name in common.

    Example:
        >>> check_classes(("xray", "fundus"), ("fundus",))
    """
    if not set(class_names or ()) & set(modalities):
        classes = ", ".join(class_names or ["classes without names"])
        raise InputError(
            f"The recogniser tells {classes} apart, and the segmenter knows "
            f"{', '.join(modalities)}; give the modality instead of {AUTO!r}."
        )


def shown(probability: float, digits: int = 3) -> str:
    """Format a probability, cut instead of rounded so that it never seems to reach a limit.

    Example:
        >>> shown(0.99996), shown(0.29, 2)
        ('0.999', '0.29')
    """
    if math.isnan(probability):
        return "nan"
    scale = 10**digits
    return f"{math.floor(probability * scale + 1e-4) / scale:.{digits}f}"
