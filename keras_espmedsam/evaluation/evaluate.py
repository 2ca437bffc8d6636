"""Running a segmenter over a data set and reporting how well it did."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from keras_espmedsam._backend import choose_backend
from keras_espmedsam.data.pictures import MAX_PIXELS
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import inspect_record, read_samples
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measures import image_measures
from keras_espmedsam.evaluation.paper_measures import (
    mean_and_std,
    paper_image_measures,
    summarise_paper,
)


def evaluate(
    segmenter: Any,
    records: Sequence[Record],
    batch_size: int = 8,
    paper_metrics: bool = False,
    threshold: float = 0.5,
    progress: Callable[[int], None] | None = None,
    preset: str | None = None,
    max_pixels: int = MAX_PIXELS,
    mirror: bool = False,
    each: Callable[[Record, np.ndarray, np.ndarray, dict[str, float]], None] | None = None,
) -> dict[str, Any]:
    """Evaluate a segmenter on labelled images, each at its own size.

    Images are read, segmented and measured batch by batch. A file of several (the slices of a
    volume, frames, pages) is several images here, its mask's file holds as many.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, or any object with its `segment` and
            `modalities`.
        records: the images and their masks, from `read_index`.
        batch_size: how many images are held and segmented at a time.
        paper_metrics: whether to compute the measures as published: at 1024 x 1024, smoothed
            Dice and IoU, accuracy, F1 from mean precision and recall, and the Hausdorff maximum
            without empty predictions.
        threshold: foreground is a probability of at least this.
        progress: called with the number of records done since the last call.
        preset: the preset's name, for the report.
        max_pixels: the most pixels that an image may have.
        mirror: whether to average with what the mirrored images give; see `segment`.
        each: called for every image with its record (whose `index` is that of the picture in a
            file of several), its true mask, the probabilities and its measures.

    Returns:
        `{"preset", "backend", "datasets": {NAME: {"split", "modality", "n", "dice": {"mean",
        "std"}, "iou": ..., "precision": ..., "recall": ..., "hd95": ...}}}`, NAME being the data
        set's name, or `NAME/SPLIT` where the records hold several splits of it. The deviation is
        that of the population. With `mirror` also `"mirror": True`; with `paper_metrics` also
        `"metrics": "paper"`, and the measures of `summarise_paper`.

    Raises:
        InputError: when there are no records, one has no mask, a modality is not one of the
            segmenter's, an image cannot be read, or a mask does not fit its image.

    Example:
        >>> import tempfile, types
        >>> from PIL import Image
        >>> path = tempfile.mkdtemp() + "/mask.png"
        >>> Image.new("L", (6, 4), 255).save(path)
        >>> def segment(images, modalities, threshold, batch_size, mirror):
        ...     return {"masks": [image > 0 for image in images]}
        >>> segmenter = types.SimpleNamespace(segment=segment, modalities=("fundus",))
        >>> record = Record("test", "fundus", "drive", path, path)
        >>> evaluate(segmenter, [record])["datasets"]["drive"]["dice"]
        {'mean': 1.0, 'std': 0.0}

    Source: ours.
    """
    _check(segmenter, records, max_pixels)
    measures: dict[tuple[str, str], list[dict[str, float]]] = {}
    for batch in _batches(_samples(records, max_pixels), batch_size):
        results = segmenter.segment(
            [picture.array for _, picture, _ in batch],
            [record.modality for record, _, _ in batch],
            threshold=threshold,
            batch_size=batch_size,
            mirror=mirror,
        )
        # Pictures and masks were turned upright; they are compared as both are stored.
        values = results["probabilities" if paper_metrics else "masks"]
        for i, ((record, picture, mask), value) in enumerate(zip(batch, values, strict=True)):
            truth, value = picture.layout.undo(mask), picture.layout.undo(value)
            one = (
                paper_image_measures(truth, value, threshold)
                if paper_metrics
                else image_measures(truth, value)
            )
            measures.setdefault((record.dataset, record.split), []).append(one)
            if each:
                found = picture.layout.undo(results["probabilities"][i])
                each(dataclasses.replace(record, index=picture.index), truth, found, one)
        if progress:
            progress(sum(_is_last(record, picture) for record, picture, _ in batch))
    report: dict[str, Any] = {"preset": preset, "backend": choose_backend()}
    if mirror:
        report["mirror"] = True
    if paper_metrics:
        report["metrics"] = "paper"
    modalities = {record.dataset: record.modality for record in records}
    summarise = summarise_paper if paper_metrics else _summarise
    datasets = [dataset for dataset, _ in measures]
    report["datasets"] = {
        f"{dataset}/{split}" if datasets.count(dataset) > 1 else dataset: {
            "split": split,
            "modality": modalities[dataset],
            "n": len(ones),
            **summarise(ones),
        }
        for (dataset, split), ones in measures.items()
    }
    return report


def _check(segmenter, records, max_pixels):
    if not records:
        raise InputError("Received no images to evaluate; choose a split that has some.")
    known = tuple(segmenter.modalities)
    unknown = sorted({record.modality for record in records} - set(known))
    if unknown:
        raise InputError(
            f"The data holds the modality {', '.join(unknown)}, which this preset does not have; "
            f"it has {', '.join(known)}. Choose data sets of these."
        )
    # Headers only, and all of them first: nobody wants to learn of a bad file after an hour.
    for record in records:
        if record.mask is None:
            raise InputError(
                f"Received the image {record.image} without a mask; it is measured by one."
            )
        inspect_record(record, max_pixels)


def _samples(records, max_pixels):
    for record in records:
        for picture, mask in read_samples(record, max_pixels):
            yield record, picture, mask


def _batches(samples: Iterator[tuple], size: int) -> Iterator[list[tuple]]:
    while batch := list(itertools.islice(samples, size)):
        yield batch


def _is_last(record, picture):
    return record.index is not None or picture.index == picture.count - 1


def _summarise(measures: list[dict[str, float]]) -> dict[str, dict]:
    return {name: mean_and_std(np.array([one[name] for one in measures])) for name in measures[0]}
