"""Move the threshold of a segmenter's scope to proper images of another place."""

import math
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.index import read_index
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.fit_scope import FALSE_FLAGS, record_images
from keras_espmedsam.inference.scope import Scope

FEWEST = 19
"""The fewest images of a modality: of fewer, more than 5 % of new ones could be flagged."""

MOST_FLAGGED = 2 / 3
"""The largest share of flagged images that may still be of the modality: of proper images of other
hospitals 45 % at most are, of other modalities' images 83 % at least (docs/reports/scope.md)."""

_SIGNIFICANT = 0.05
_MARGIN = 1e-3  # So that the image that it is taken from is in scope on every backend.
_DIGITS = 6


class ScopeThreshold(NamedTuple):
    """What was found for one modality.

    Attributes:
        modality: its name.
        num_images: how many images it has.
        before: how many of them were out of scope.
        after: how many are with `coefficients`.
        coefficients: those of the modality, as the segmenter's `scope` has them; the offset is
            another one if too many of the images were out of scope.

    Example:
        >>> found = ScopeThreshold("xray", 20, before=9, after=1, coefficients=[0.5, 1.0])
        >>> found.before - found.after
        8
    """

    modality: str
    num_images: int
    before: int
    after: int
    coefficients: list[float]


def fit_scope_threshold(
    segmenter: Any,
    data: str | os.PathLike | Sequence[Record],
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Record], None] | None = None,
) -> list[ScopeThreshold]:
    """Find the thresholds at which a segmenter's scope accepts the images of a place.

    Images of a hospital or a camera that the scope was not fitted to may be flagged, although they
    are of the modality. Where more are than the 2 % of home explain (a binomial test at 5 %), the
    threshold is moved: with `n` images to where one in `n + 1` new ones of the same place is
    flagged at most, on average over such draws of images, and 2 % from 49 images on. What tells
    modalities apart, the factors of the regression, stays: to fit these, images of other kinds are
    needed; see `fit_scope`.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`; its method `fit_scope_threshold` puts the result
            into use.
        data: path of an index, whose val split is used, or a list of `Record`: proper images, of
            different patients if they can be. No masks are needed.
        max_pixels: the most pixels that an image may have.
        progress: called with each record when it is done.

    Returns:
        list of `ScopeThreshold`, for modalities of the scope with at least 19 images.

    Raises:
        InputError: for a segmenter without a scope, an image that cannot be read, if no modality
            has enough images, and for images most of which seem to be of another kind.

    Source: split conformal prediction, Vovk, Gammerman and Shafer, Algorithmic learning in a random
        world (2005); Angelopoulos and Bates, arXiv 2107.07511.
    """
    scope: Scope = dict(getattr(segmenter, "scope", None) or {})
    if not scope or not hasattr(segmenter, "embedding_model"):
        raise InputError(
            "Received a segmenter that does not tell which images are in scope, so it has no "
            "threshold to move; fit_scope makes one, on images of several modalities."
        )
    if isinstance(data, str | os.PathLike):
        data = read_index(data, ("val",), labelled=False)
    records = list({(one.image, one.index): one for one in data if one.modality in scope}.values())
    # Keras, which the command line does not import before it is needed.
    from keras_espmedsam.evaluation.embedding_samples import EmbeddingSamples

    embedding = EmbeddingSamples(segmenter)
    for record in records:
        for image in record_images(record, segmenter, max_pixels):
            embedding.add(image, record.modality)
        if progress:
            progress(record)
    statistics: dict[str, list[np.ndarray]] = {}
    for one in embedding.done():
        statistics.setdefault(one.said, []).append(one.statistics)
    found = [
        _moved(modality, np.array(statistics[modality], float), scope[modality])
        for modality in scope
        if len(statistics.get(modality, ())) >= FEWEST
    ]
    if not found:
        most = max(map(len, statistics.values()), default=0)
        raise InputError(
            f"Received at most {most} images of a modality to move the threshold of the scope to; "
            f"give at least {FEWEST}, since of fewer no threshold keeps 95 % of new images."
        )
    return found


def shift_of(logits: np.ndarray) -> float:
    """Return by how much the logits of proper images have to be less.

    Args:
        logits: `(images,)`, above 0 for those that are out of scope.

    Returns:
        0 if as many are out of scope as 2 % explain.

    Example:
        >>> shift_of(np.array([-2.0] * 18 + [1.5])), shift_of(np.array([-2.0] * 16 + [1.5] * 3))
        (0.0, 1.5)
    """
    count = len(logits)
    flagged = int((logits > 0).sum())
    fewer = (
        math.comb(count, k) * FALSE_FLAGS**k * (1 - FALSE_FLAGS) ** (count - k)
        for k in range(flagged)
    )
    if 1 - sum(fewer) >= _SIGNIFICANT:
        return 0.0
    rank = min(count, math.ceil((1 - FALSE_FLAGS) * (count + 1)))
    return max(0.0, float(np.sort(logits)[rank - 1]))


def _moved(modality, statistics, coefficients):
    offset, *factors = coefficients
    logits = offset + statistics @ np.array(factors)
    if shift := shift_of(logits):
        shift += _MARGIN
        coefficients = [float(f"{offset - shift:.{_DIGITS}g}"), *factors]
    before, after = (int((one > 0).sum()) for one in (logits, logits - shift))
    if before > MOST_FLAGGED * len(logits):
        raise InputError(
            f"{before} of {len(logits)} images of {modality} are out of scope; to accept such "
            "images would be to accept all kinds. Check that they are of this modality. If they "
            "are, the model was not made for them: train it on some."
        )
    return ScopeThreshold(modality, len(logits), before, after, coefficients)
