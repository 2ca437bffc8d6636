"""Fit the prediction of how good a segmenter's masks are, on labelled images."""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam.data.images import MAX_PIXELS, inspect_image_file
from keras_espmedsam.data.index import read_index
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import target_images
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets
from keras_espmedsam.evaluation.metrics import dice
from keras_espmedsam.evaluation.quality_regression import fit_coefficients
from keras_espmedsam.imaging.intensity import AUTO, already_read
from keras_espmedsam.inference.chosen_targets import target_set_of
from keras_espmedsam.inference.image_segmentation import SegmentsImages
from keras_espmedsam.inference.quality import Quality

FEWEST = 4
"""The fewest masks of which a target's prediction is fitted."""


class MeasuredMask(NamedTuple):
    """One mask, what its probabilities say about it, and how good it is.

    Attributes:
        modality: its modality.
        target: its target.
        dataset: the data set of its image.
        statistics: float32 `(5,)`, see `keras_espmedsam.ops.mask_statistics`.
        dice: with the truth, at the image's own size.
    """

    modality: str
    target: str
    dataset: str
    statistics: np.ndarray
    dice: float


def fit_quality(
    segmenter: Any,
    data: str | os.PathLike | Sequence[Record],
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Record], None] | None = None,
) -> Quality:
    """Fit the coefficients from which a segmenter predicts the Dice of its masks.

    A logistic regression of the Dice on the statistics of `mask_statistics` has one factor of each
    for all targets, and an offset for each target; data sets count by the square root of their
    size. Corrupted copies of the images, the decoder's tokens and the pooled embedding were tried
    as well, and predict masks of left-out data sets no better.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`; its method `fit_quality` puts the result into use.
        data: path of an index, whose val split is used, or a list of `Record`: labelled images that
            the model was not trained on.
        max_pixels: the most pixels that an image may have.
        progress: called with each record when it is done.

    Returns:
        dict of modality to dict of target to its coefficients, for targets with at least 4 masks.

    Raises:
        InputError: for an image or a mask that cannot be read, a target that the model does not
            have, and if no target has 4 masks.

    Source: predicting quality without the truth, arXiv 1702.03407 and 1807.00502. The regression
        and its statistics are this project's.
    """
    if isinstance(data, str | os.PathLike):
        data = read_index(data, ("val",))
    measured = list(measure_masks(segmenter, data, max_pixels, progress))
    count: dict[tuple[str, str], int] = {}
    for one in measured:
        count[one.modality, one.target] = count.get((one.modality, one.target), 0) + 1
    kept = [one for one in measured if count[one.modality, one.target] >= FEWEST]
    if not kept:
        raise _too_few(count)
    keys = [(one.modality, one.target) for one in kept]
    found = fit_coefficients(
        np.array([one.statistics for one in kept]),
        np.array([one.dice for one in kept]),
        keys,
        [one.dataset for one in kept],
    )
    quality: Quality = {}
    for (modality, target), coefficients in found.items():
        quality.setdefault(modality, {})[target] = coefficients
    return quality


def check_enough_masks(records: Sequence[Record], max_pixels: int = MAX_PIXELS) -> None:
    """Check before anything is segmented that a target has enough masks, by the files' headers.

    Args:
        records, max_pixels: see `fit_quality`.

    Raises:
        InputError: if no target has 4 masks, and for an image that cannot be read.

    Example:
        >>> record = Record("val", "fundus", "clinic", "7.nii", "7_mask.nii", index=0)
        >>> check_enough_masks([record] * 4)
    """
    count: dict[tuple[str, str], int] = {}
    for record in records:
        images = 1 if record.index is not None else 0
        for one in record.target_masks:
            images = images or inspect_image_file(record.image, max_pixels).count
            key = record.modality, one.target
            count[key] = count.get(key, 0) + images
            if count[key] >= FEWEST:
                return
    raise _too_few(count)


def _too_few(count):
    most = max(count.values(), default=0)
    return InputError(
        f"Received at most {most} masks of a target to predict the quality from; give at least "
        f"{FEWEST} labelled images of one."
    )


def measure_masks(
    segmenter: Any,
    records: Sequence[Record],
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[Record], None] | None = None,
) -> Iterator[MeasuredMask]:
    """Segment labelled images, and measure each mask.

    Args:
        segmenter, max_pixels, progress: see `fit_quality`.
        records: the images.

    Yields:
        `MeasuredMask` of each target that is labelled in an image.
    """
    target_set = target_set_of(segmenter)
    targets = MeasuredTargets(target_set, records)
    said = getattr(segmenter, "intensity", None) or AUTO
    model = _WithStatistics(segmenter)
    reading: dict[str, Any] = {**already_read(model)}
    for record in records:
        for image, labels in target_images(record, max_pixels, said, instances=False):
            result = model.segment(image.array, record.modality, **reading)
            for name, truth in labels.items():
                target = targets.name(record.modality, name)
                mask = result["masks"]
                if mask.ndim == 3:
                    mask = mask[..., result["targets"].index(target)]
                statistics = model.statistics[target_set.index(record.modality, target)]
                value = dice(truth.mask, mask)
                yield MeasuredMask(record.modality, target, record.dataset, statistics, value)
        if progress:
            progress(record)


class _WithStatistics(SegmentsImages):
    """A segmenter that keeps the statistics of the masks of the last image."""

    def __init__(self, task):
        if not hasattr(task, "predict_with_statistics"):
            raise InputError(
                f"Received a segmenter of type {type(task).__name__} to predict the quality of; "
                "expected an ESPMedSAMImageSegmenter. Fit it before you export it."
            )
        self._task = task
        self.modalities = tuple(task.modalities)
        self.image_converter = task.image_converter
        self.intensity = getattr(task, "intensity", AUTO)
        self.target_set = target_set_of(task)
        self.postprocessing = getattr(task, "postprocessing", None)
        # A bias changes the masks.
        self.probability_calibration = getattr(task, "probability_calibration", None)
        self.statistics = np.zeros((0, 0), "float32")

    def predict_probabilities(self, images, indices):
        values, statistics = self._task.predict_with_statistics(images, indices)
        self.statistics = statistics[0]
        return values
