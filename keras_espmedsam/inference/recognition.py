"""What a classifier says of an image's modality, and whether that will do.

Plain numbers and sentences without Keras, for the segmenter and the command line alike.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from keras_espmedsam.errors import InputError

AUTO = "auto"
"""What is given in place of a modality to have it recognised."""

DEFAULT_RECOGNIZER = "tic_tiny_modality"
"""The preset that recognises modalities unless another is given."""


@dataclasses.dataclass(frozen=True)
class Recognition:
    """What an image was recognised as.

    Args:
        modality: str. The most probable class.
        confidence: float in [0, 1]. Its probability.
        refusal: str. Why it cannot be used, as the rest of a sentence that begins with the
            image; empty when it can.

    Source: ours.
    """

    modality: str
    confidence: float
    refusal: str = ""


BLANK = "shows nearly one brightness all over, of which no modality is recognised"
"""Why an image without content is refused, as the rest of a sentence that begins with it."""


def decide(
    probabilities: Any,
    class_names: Sequence[str],
    min_confidence: float,
    modalities: Sequence[str],
    blank: bool = False,
) -> Recognition:
    """Take the most probable class for an image's modality, or say why not.

    Args:
        probabilities: array `(num_classes,)`, or `(images, num_classes)` of several images of
            one modality, whose mean decides.
        class_names: tuple of str.
        min_confidence: float. The least probability that is accepted.
        modalities: tuple of str. Those that the segmenter knows.
        blank: bool. Whether there is nothing to be seen, whatever the classifier says.

    Returns:
        `Recognition`.

    Example:
        >>> found = decide([0.1, 0.9], ("xray", "fundus"), 0.8, ("xray", "fundus"))
        >>> found.modality, found.confidence, found.refusal
        ('fundus', 0.9, '')
        >>> decide([0.4, 0.6], ("xray", "fundus"), 0.8, ("xray", "fundus")).refusal
        'was not recognised: fundus 0.60, xray 0.40 (at least 0.8 is needed)'

    Source: ours.
    """
    mean = np.mean(np.reshape(probabilities, (-1, len(class_names))), axis=0)
    order = np.argsort(-mean, kind="stable")
    name, confidence = class_names[order[0]], float(mean[order[0]])
    # In float32, as the probabilities are; NaN is no confidence either.
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
    """Check that a recogniser can be of use to a segmenter.

    Args:
        class_names: tuple of str, or `None`. What is recognised.
        modalities: tuple of str. What can be segmented.

    Raises:
        InputError: when they have no name in common.

    Example:
        >>> check_classes(("xray", "fundus"), ("fundus",))

    Source: ours.
    """
    if not set(class_names or ()) & set(modalities):
        classes = ", ".join(class_names or ["classes without names"])
        raise InputError(
            f"The recogniser tells {classes} apart, and the segmenter knows "
            f"{', '.join(modalities)}; give the modality instead of {AUTO!r}."
        )


def shown(probability: float, digits: int = 3) -> str:
    """A probability for reading, cut and not rounded: below a limit it is never shown as at it.

    Example:
        >>> shown(0.99996), shown(0.29, 2)
        ('0.999', '0.29')

    Source: ours.
    """
    if math.isnan(probability):
        return "nan"
    scale = 10**digits
    return f"{math.floor(probability * scale + 1e-4) / scale:.{digits}f}"
