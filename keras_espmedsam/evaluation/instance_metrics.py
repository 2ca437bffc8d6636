"""Metrics of predicted objects against true ones, such as the nuclei of an image."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage, sparse

from keras_espmedsam._shown import shown_value
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.summary import mean_and_std

INSTANCE_METRICS = (
    *("true_objects", "predicted_objects", "count_error"),
    *("ap", "ap50", "ap75", "pq", "sq", "rq", "aji", "dsb", "dsb50"),
)
"""The metrics of objects, in the order of the reports."""

# As COCO computes them, to the last bit: an overlap of 11 / 20 has to reach 0.55.
_THRESHOLDS = np.minimum(np.linspace(0.5, 0.95, 10), 1 - 1e-10)
_RECALLS = np.linspace(0, 1, 101)


@dataclasses.dataclass(frozen=True)
class ObjectMatches:
    """The objects of an image, matched: all that metrics of one or more images are computed from.

    Args:
        scores: a score per predicted object, in the order of the labels.
        ious: the intersection over union of each with its true object; 0 if it has none that it
            overlaps by half.
        num_true: the number of true objects.
        intersection, union: pixels, for the aggregated Jaccard index.

    Example:
        >>> ObjectMatches((0.9,), (0.8,), 1, 8, 10).num_true
        1
    """

    scores: tuple[float, ...]
    ious: tuple[float, ...]
    num_true: int
    intersection: int
    union: int

    def __post_init__(self) -> None:
        # A log of measurements holds lists.
        object.__setattr__(self, "scores", tuple(self.scores))
        object.__setattr__(self, "ious", tuple(self.ious))


def match_objects(
    truth: np.ndarray, prediction: np.ndarray, scores: Sequence[float] | np.ndarray | None = None
) -> ObjectMatches:
    """Match the predicted objects of an image with the true ones.

    Objects do not overlap in a label image, so at most one pair of each object overlaps by more
    than half of its union, and no choice is left. Only of pairs at exactly one half, the object
    with the higher score comes first.

    Args:
        truth: int `(height, width)`, a number per true object; 0 is background.
        prediction: int label image of the same shape.
        scores: a number per predicted object, in ascending order of their labels, by which average
            precision ranks them, such as `object_scores`; without it, all are equal and the
            smaller label comes first.

    Raises:
        InputError: for images that are not label images of one shape, or scores that are not one
            finite number per object.

    Example:
        >>> match_objects(np.array([[1, 1, 0, 2]]), np.array([[5, 5, 5, 0]])).ious
        (0.6666666666666666,)
    """
    truth, prediction = _labels(truth, "truth"), _labels(prediction, "prediction")
    if truth.shape != prediction.shape:
        raise InputError(
            f"Received predicted objects of shape {prediction.shape} for true ones of shape "
            f"{truth.shape}; they must be equal."
        )
    used = (truth != 0) | (prediction != 0)
    true_numbers, true_sizes, true_at = _numbered(truth[used])
    numbers, sizes, at = _numbered(prediction[used])
    chosen = _scores(scores, len(numbers))
    shape = (len(true_numbers) + 1, len(numbers) + 1)
    both = sparse.coo_array((np.ones(len(at), np.int64), (true_at, at)), shape=shape).tocsr()
    overlaps = both[1:, 1:].tocoo()
    rows, columns, intersections = overlaps.row, overlaps.col, overlaps.data
    unions = true_sizes[rows] + sizes[columns] - intersections
    ious = intersections / unions
    return ObjectMatches(
        tuple(chosen.tolist()),
        tuple(_matched(rows, columns, ious, chosen).tolist()),
        len(true_numbers),
        *_aggregated(rows, columns, intersections, unions, ious, true_sizes, sizes),
    )


def object_scores(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return the mean probability of each object.

    Args:
        labels: int label image `(height, width)`; 0 is background.
        probabilities: float `(height, width)`.

    Returns:
        float64 `(objects,)`, in ascending order of the labels.

    Raises:
        InputError: for an image that is not a label image, or another shape.

    Example:
        >>> object_scores(np.array([[0, 7, 7, 9]]), np.array([[0, 0.5, 1, 0.25]])).tolist()
        [0.75, 0.25]
    """
    labels, probabilities = _labels(labels, "labels"), np.asarray(probabilities)
    if labels.shape != probabilities.shape:
        raise InputError(
            f"Received probabilities of shape {probabilities.shape} for objects of shape "
            f"{labels.shape}; they must be equal."
        )
    numbers = np.unique(labels[labels != 0])
    if not len(numbers):
        return np.zeros(0)
    return np.asarray(ndimage.mean(probabilities.astype(np.float64), labels, numbers))


def instance_measures(
    truth: np.ndarray, prediction: np.ndarray, scores: Sequence[float] | np.ndarray | None = None
) -> dict[str, float]:
    """Compute the metrics of an image's objects.

    With no objects in either image, overlaps and precisions are 1; with objects in one alone, 0.

    Args:
        truth, prediction, scores: see `match_objects`.

    Returns:
        See `pooled_measures`, which this is for one image.

    Raises:
        InputError: see `match_objects`.

    Example:
        >>> truth = np.array([[1, 1, 1, 0, 2, 2]])
        >>> found = instance_measures(truth, np.array([[1, 1, 0, 0, 0, 3]]))
        >>> found["pq"], found["sq"], found["rq"], found["count_error"]
        (0.3333333333333333, 0.6666666666666666, 0.5, 0)
    """
    return pooled_measures([match_objects(truth, prediction, scores)])


def pooled_measures(images: Sequence[ObjectMatches]) -> dict[str, float]:
    """Compute the metrics of the objects of all images together, as if they were one image.

    - `true_objects`, `predicted_objects`: their numbers; `count_error`: how far apart they are.
    - `ap`: average precision as COCO defines it for masks: all objects are ranked by their scores;
      the mean over overlaps (IoU) of 0.5, 0.55 ... 0.95. `ap50`, `ap75`: at one overlap.
    - `pq`: panoptic quality, the product of `sq` (the mean overlap of matched objects) and `rq`
      (the F1 score of finding objects at an overlap of more than 0.5).
    - `aji`: aggregated Jaccard index.
    - `dsb`: TP / (TP + FP + FN), the mean over the same overlaps, as the Data Science Bowl of 2018
      scored nuclei; without scores. StarDist and Cellpose call it average precision. `dsb50`: at
      an overlap of 0.5.

    COCO counts at most 100 predicted objects per image and gives -1 if there is no true object;
    here, all are counted, and without true objects `ap` is 0, or 1 if none is predicted either.

    Args:
        images: one result of `match_objects` per image.

    Returns:
        Name to value, in the order of `INSTANCE_METRICS`.

    Raises:
        InputError: when there are no images.

    Example:
        >>> one, other = np.array([[1, 1]]), np.array([[1, 0]])
        >>> images = [match_objects(one, one), match_objects(one, other)]
        >>> pooled_measures(images)["rq"]
        0.5

    Source: Lin et al. 2014, arXiv 1405.0312 (AP); Kirillov et al. 2019, arXiv 1801.00868 (PQ);
    Kumar et al. 2017, IEEE TMI 36(7):1550 (AJI); Caicedo et al. 2019, Nature Methods 16:1247
    (Data Science Bowl 2018).
    """
    if not images:
        raise InputError("Received no images; give the matched objects of at least one.")
    scores = np.array([score for one in images for score in one.scores])
    ious = np.array([iou for one in images for iou in one.ious])
    true = sum(one.num_true for one in images)
    # Equal scores keep the order of the images and labels, as in COCO's code.
    ious = ious[np.argsort(-scores, kind="stable")]
    found = np.array([_average_precision(ious >= t, true) for t in _THRESHOLDS])
    counts = np.array([np.count_nonzero(ious >= t) for t in _THRESHOLDS])
    dsb = [_ratio(count, true + len(ious) - count) for count in counts]
    matched = ious[ious > 0.5]
    # Neither true nor predicted objects: all is as it should be.
    sq = float(matched.mean()) if len(matched) else float(not true and not len(ious))
    rq = _ratio(2 * len(matched), true + len(ious))
    return {
        "true_objects": true,
        "predicted_objects": len(ious),
        "count_error": abs(len(ious) - true),
        "ap": float(found.mean()),
        "ap50": float(found[0]),
        "ap75": float(found[5]),
        "pq": sq * rq,
        "sq": sq,
        "rq": rq,
        "aji": _ratio(sum(one.intersection for one in images), sum(one.union for one in images)),
        "dsb": float(np.mean(dsb)),
        "dsb50": dsb[0],
    }


def summarise_instances(images: Sequence[ObjectMatches]) -> dict[str, dict[str, Any]]:
    """Summarise the metrics of objects over the images of a data set, in both usual ways.

    Args:
        images: one result of `match_objects` per image.

    Returns:
        `{NAME: {"mean", "std", "pooled"}}`: mean and standard deviation over the images, as for
        PQ and AJI of nuclei, and the value of all images' objects together, as for COCO's AP and
        the published PQ.

    Raises:
        InputError: when there are no images.

    Example:
        >>> one, other = np.array([[1, 1]]), np.array([[1, 0]])
        >>> images = [match_objects(one, one), match_objects(other, one * 0)]
        >>> summarise_instances(images)["rq"]
        {'mean': 0.5, 'std': 0.5, 'pooled': 0.6666666666666666}
    """
    pooled = pooled_measures(images)
    each = [pooled_measures([one]) for one in images]
    return {
        name: {**mean_and_std(np.array([one[name] for one in each])), "pooled": value}
        for name, value in pooled.items()
    }


def _labels(image, name):
    image = np.asarray(image)
    if image.ndim != 2 or not np.issubdtype(image.dtype, np.integer):
        raise InputError(
            f"Received {name}={shown_value(image)}; expected a label image: integers (height, "
            "width), 0 for background and a number per object."
        )
    if image.size and image.min() < 0:
        raise InputError(
            f"Received {name} with the label {image.min()}; expected 0 for background and a "
            "positive number per object."
        )
    return image


def _numbered(labels):
    """Return the labels without 0, their sizes, and each pixel's label as a number from 0."""
    numbers, at, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    if len(numbers) and numbers[0] == 0:
        return numbers[1:], sizes[1:], at
    return numbers, sizes, at + 1


def _scores(scores, count):
    if scores is None:
        return np.ones(count)
    found = np.asarray(scores, np.float64)
    if found.shape != (count,) or not np.isfinite(found).all():
        raise InputError(
            f"Received scores={shown_value(scores)} for {count} predicted objects; expected one "
            "finite number per object, in ascending order of the labels."
        )
    return found


def _matched(rows, columns, ious, scores):
    """Return the overlap of each predicted object with its true one, from one half on."""
    matched, taken = np.zeros(len(scores)), set()
    half = np.flatnonzero(ious >= 0.5)
    for k in half[np.argsort(-scores[columns[half]], kind="stable")]:
        if not matched[columns[k]] and rows[k] not in taken:
            matched[columns[k]] = ious[k]
            taken.add(rows[k])
    return matched


def _aggregated(rows, columns, intersections, unions, ious, true_sizes, sizes):
    """Sum up the intersections and unions of true objects with what overlaps them most.

    True objects without any overlap, and predicted ones that are no object's best, add to the
    union alone. A predicted object may be the best of several.
    """
    # The best of each row comes first; of equal ones, the smaller label.
    order = np.lexsort((columns, -ious, rows))
    _, first = np.unique(rows[order], return_index=True)
    best = order[first]
    alone = np.ones(len(true_sizes), bool)
    alone[rows[best]] = False
    unused = np.ones(len(sizes), bool)
    unused[columns[best]] = False
    union = unions[best].sum() + true_sizes[alone].sum() + sizes[unused].sum()
    return int(intersections[best].sum()), int(union)


def _average_precision(hits, true):
    """Compute the mean precision at 101 recalls, of objects from the surest to the least sure."""
    if not true:
        return float(not len(hits))
    positives = np.cumsum(hits)
    precision = positives / np.arange(1, len(hits) + 1)
    # At each recall, the best precision of it or of a higher one.
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(positives / true, _RECALLS, side="left")
    return float(np.append(precision, 0.0)[at].mean())


def _ratio(numerator, denominator):
    return float(numerator / denominator) if denominator else 1.0
