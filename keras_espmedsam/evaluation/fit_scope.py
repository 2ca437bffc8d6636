"""Fit the judgement whether an image is of the modality that was said."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_espmedsam.data.images import MAX_PIXELS, read_images
from keras_espmedsam.data.index import read_index
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.logistic_regression import logistic_regression
from keras_espmedsam.imaging.arrays import ImageLike
from keras_espmedsam.imaging.intensity import AUTO
from keras_espmedsam.inference.scope import Scope

FEWEST = 8
"""The fewest images of a modality, of other kinds and for the threshold, each."""

FALSE_FLAGS = 0.02
"""The share of the val images that may be flagged."""

PENALTY = 2.0
"""Of the regression; chosen on left-out data sets and kinds of generated images. Three times as
much is about as good."""

_DIGITS = 6


def fit_scope(
    segmenter: Any,
    data: str | os.PathLike | Sequence[Record],
    others: Iterable[ImageLike] = (),
    max_images: int = 150,
    max_crossed: int = 10,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Record], None] | None = None,
) -> Scope:
    """Fit the coefficients from which a segmenter tells which images are in scope.

    For each modality, a logistic regression on the mean and the spread of the channels of the
    embedding tells its images from images of the other modalities, and from `others`, that are
    given as this one. Images of a data set count by the square root of their number, and both sides
    alike. The offset is then moved so that at most 2 % of the val images are flagged. Distances
    from the images of the modality (Mahalanobis, relative Mahalanobis, nearest neighbours) were
    tried as well: they take a data set that they were not fitted to for another kind of image.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`; its method `fit_scope` puts the result into use.
        data: path of an index, or a list of `Record`; no masks are needed. Images of the split
            `val` set the threshold, and those of `train` the rest.
        others: images that belong to none of the modalities, such as photographs and screenshots,
            as `segment` takes them.
        max_images: the most images of a data set that are used as they are.
        max_crossed: the most images of a data set that are also given as each other modality.
        max_pixels: the most pixels that an image may have.
        progress: called with each record when it is done.

    Returns:
        dict of modality to its coefficients, for those with at least 8 images of each kind.

    Raises:
        InputError: for an image that cannot be read, and if no modality has enough images.

    Source: outliers that are known in the fit, arXiv 1812.04606; the distances that were tried,
        arXiv 1807.03888, 2106.09022 and 2204.06507.
    """
    if not hasattr(segmenter, "embedding_model"):
        raise InputError(
            f"Received a segmenter of type {type(segmenter).__name__} to fit the scope of; "
            "expected an ESPMedSAMImageSegmenter. Fit it before you export it."
        )
    if isinstance(data, str | os.PathLike):
        data = read_index(data, ("train", "val"), labelled=False)
    chosen = _chosen(segmenter, data, max_images)
    samples = _samples(segmenter, chosen, others, max_crossed, max_pixels, progress)
    found = {}
    for modality in segmenter.modalities:
        own = [one for one in samples if one.said == modality]
        kinds = [[one for one in own if one.kind == kind] for kind in ("own", "other", "val")]
        if min(map(len, kinds)) >= FEWEST:
            found[modality] = _coefficients(*kinds)
    if not found:
        raise InputError(
            f"Received too few images to tell which are in scope; give at least {FEWEST} train "
            f"images of a modality, {FEWEST} val images of it, and {FEWEST} images of others: "
            "train images of other modalities, or `others`."
        )
    return found


def _chosen(segmenter, data, max_images):
    """Return the records to read, each image once, evenly spread over each data set."""
    groups: dict[tuple[str, str, str], dict[Any, Record]] = {}
    for record in data:
        if record.split in ("train", "val") and record.modality in segmenter.modalities:
            key = record.split, record.modality, record.dataset
            groups.setdefault(key, {})[record.image, record.index] = record
    found: dict[tuple[str, str, str], list[Record]] = {}
    for key, of in groups.items():
        rows = list(of.values())
        count = len(rows) if key[0] == "val" else min(max_images, len(rows))
        found[key] = [rows[i * len(rows) // count] for i in range(count)]
    return found


def _samples(segmenter, chosen, others, max_crossed, max_pixels, progress):
    # Keras, which the command line does not import before it is needed.
    from keras_espmedsam.evaluation.embedding_samples import EmbeddingSamples

    embedding = EmbeddingSamples(segmenter)
    for (split, modality, dataset), rows in chosen.items():
        step = max(1, len(rows) // max_crossed) if max_crossed else len(rows) + 1
        for number, record in enumerate(rows):
            crossed = split == "train" and max_crossed and not number % step
            for image in record_images(record, segmenter, max_pixels):
                embedding.add(image, modality, dataset, "own" if split == "train" else "val")
                for other in segmenter.modalities if crossed else ():
                    if other != modality:
                        embedding.add(image, other, dataset, "other")
            if progress:
                progress(record)
    for image in others:
        for modality in segmenter.modalities:
            embedding.add(image, modality, "", "other")
    return embedding.done()


def record_images(record: Record, segmenter: Any, max_pixels: int) -> Iterator[np.ndarray]:
    """Yield the images of a record, with the black and white that `segment` would give them.

    Args:
        record: the record.
        segmenter: the segmenter.
        max_pixels: the most pixels that an image may have.
    """
    said = record.intensity or getattr(segmenter, "intensity", None) or AUTO
    for number, image in enumerate(read_images(record.image, max_pixels, said)):
        if record.index in (None, number):
            yield image.array


def _coefficients(own, other, val):
    inputs = np.array([one.statistics for one in (*own, *other)], float)
    labels = np.repeat([0.0, 1.0], [len(own), len(other)])
    weights = np.concatenate([weights_of([one.dataset for one in of]) for of in (own, other)])
    offset, factors = logistic_regression(inputs, labels, weights, PENALTY)
    logits = np.sort(offset + np.array([one.statistics for one in val], float) @ factors)
    # The logistic function is a half here, and the score 1.
    largest = logits[int(np.ceil((1 - FALSE_FLAGS) * len(logits))) - 1]
    # Rounded up a little, so that the image that it is taken from is in scope on every backend.
    offset -= largest + 1e-3
    return [float(f"{value:.{_DIGITS}g}") for value in (offset, *factors)]


def weights_of(datasets: Sequence[str]) -> np.ndarray:
    """Weigh images by one over the square root of how many there are of their data set.

    Args:
        datasets: the data set of each image.

    Returns:
        `(images,)`, of which the sum is 1.

    Example:
        >>> weights_of(["drive", "drive", "drive", "drive", "hrf"]).round(3).tolist()
        [0.167, 0.167, 0.167, 0.167, 0.333]
    """
    _, which, counts = np.unique(datasets, return_inverse=True, return_counts=True)
    weights = counts[which] ** -0.5
    return weights / weights.sum()
