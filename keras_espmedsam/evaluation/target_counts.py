"""Run a segmenter on labelled images, and count the pixels of each target by probability."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import TargetPixels, target_images
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets
from keras_espmedsam.evaluation.pixel_counts import pixel_counts
from keras_espmedsam.imaging.intensity import AUTO, already_read
from keras_espmedsam.inference.chosen_targets import target_set_of
from keras_espmedsam.inference.image_batches import check_batch_size
from keras_espmedsam.inference.image_segmentation import SegmentsImages


class TargetCounts(NamedTuple):
    """The pixels of one target in one image.

    Attributes:
        record: the image's record.
        target: its name in the model.
        counts: int64 `(2, 442)`; see `keras_espmedsam.evaluation.pixel_counts.pixel_counts`.
    """

    record: Record
    target: str
    counts: np.ndarray


class _Uncalibrated(SegmentsImages):
    """A segmenter without its calibration, post-processing and guarantees."""

    def __init__(self, segmenter):
        self.modalities = tuple(segmenter.modalities)
        self.image_converter = segmenter.image_converter
        self.intensity = getattr(segmenter, "intensity", None) or AUTO
        self.target_set = target_set_of(segmenter)
        self.predict_probabilities = segmenter.predict_probabilities


def target_counts(
    segmenter: Any,
    records: Sequence[Record],
    batch_size: int = 8,
    max_pixels: int = MAX_PIXELS,
    progress: Callable[[int], None] | None = None,
) -> Iterator[TargetCounts]:
    """Yield the pixel counts of each image's labelled targets, at the image's own size.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter` or an `ExportedSegmenter`. Its calibration and
            post-processing are not used.
        records: labelled images.
        batch_size: images per forward pass.
        max_pixels: the most pixels that an image may have.
        progress: called with the number of images finished since the last call.

    Yields:
        `TargetCounts`.

    Raises:
        InputError: for an image or a mask that cannot be read, and a modality or a target that the
            model does not have.
    """
    check_batch_size(batch_size)
    model = _Uncalibrated(segmenter)
    unknown = sorted({record.modality for record in records} - set(model.modalities))
    if unknown:
        raise InputError(
            f"The data holds the modality {', '.join(unknown)}, which this model does not have; it "
            f"has {', '.join(model.modalities)}. Choose data sets with these modalities."
        )
    unlabelled = next((record.image for record in records if record.mask is None), None)
    if unlabelled is not None:
        raise InputError(
            f"Received the image {unlabelled} without a mask; give it one, or leave it out."
        )
    targets = MeasuredTargets(model.target_set, records)
    batch: list[tuple[Record, np.ndarray, Mapping[str, TargetPixels]]] = []
    for record in records:
        for image, labels in target_images(record, max_pixels, model.intensity, instances=False):
            for one in labels.values():
                if one.mask.shape != image.size:
                    raise InputError(
                        f"{record.image} has {image.size[1]} x {image.size[0]} pixels and its mask "
                        f"{one.mask.shape[1]} x {one.mask.shape[0]}; expected the same size."
                    )
            batch.append((record, image.array, labels))
            if len(batch) == batch_size:
                yield from _counted(model, targets, batch)
                _tell(progress, batch)
    if batch:
        yield from _counted(model, targets, batch)
        _tell(progress, batch)


def _counted(model, targets, batch):
    found = model.segment(
        [image for _, image, _ in batch],
        [record.modality for record, _, _ in batch],
        batch_size=len(batch),
        **already_read(model),
    )
    rows = zip(batch, found["probabilities"], found["targets"], strict=True)
    for (record, _, labels), maps, names in rows:
        maps = maps if maps.ndim == 3 else maps[..., None]
        for name, truth in labels.items():
            target = targets.name(record.modality, name)
            yield TargetCounts(
                record, target, pixel_counts(maps[..., names.index(target)], truth.mask)
            )


def _tell(progress, batch):
    if progress:
        progress(len(batch))
    batch.clear()
