"""Reading the images of an evaluation with their true masks; a bad file costs itself alone."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import labelled_images
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measurement_log import file_stamps
from keras_espmedsam.evaluation.outcome import Outcome
from keras_espmedsam.evaluation.run_settings import record_files
from keras_espmedsam.imaging.intensity import AUTO, Intensity


class LabelledImage(NamedTuple):
    """An image and its true mask, read.

    Args:
        key: number of its record, and of the image in its file.
        record: its record, with that as its `index`.
        image: the image, upright.
        mask: bool `(height, width)`, upright.
        files: what its files were when they were read; see `file_stamps`.

    Source: ours.
    """

    key: tuple[int, int]
    record: Record
    image: DecodedImage
    mask: np.ndarray
    files: list[int]


def read_labelled(
    outcome: Outcome,
    wanted: Mapping[int, Sequence[int]],
    max_pixels: int,
    intensity: Intensity = AUTO,
) -> Iterator[LabelledImage]:
    """Read images with their masks, one after another.

    Args:
        outcome: whose records are read; what cannot be is noted in it.
        wanted: a record's number to the numbers of the images of its file; of an empty list the
            file is not opened.
        max_pixels: the most pixels that an image may have.
        intensity: what is black and white where a record does not say it; see `read_images`.

    Yields:
        A `LabelledImage` for each that could be read.

    Source: ours.
    """
    for number, indices in wanted.items():
        record, left = outcome.records[number], list(indices)
        if not left:
            continue
        files = file_stamps(*record_files(record))
        try:
            for image, mask in labelled_images(record, max_pixels, intensity):
                if image.index not in left:
                    continue
                assert mask is not None  # Records without one are refused before.
                left.remove(image.index)
                # Headers may say something else than the pixels behind them.
                if mask.shape != image.size:
                    outcome.fail(number, image.index, _unequal(record, image, mask))
                    continue
                found = dataclasses.replace(record, index=image.index)
                yield LabelledImage((number, image.index), found, image, mask, files)
            if left:
                raise InputError(
                    f"{record.image} or its mask {record.mask} holds fewer images than its header "
                    "says; get a new copy of them."
                )
        except InputError as error:
            reason = str(error)
            if len(left) > 1:
                reason += f" {len(left)} images of the file are not measured."
            outcome.fail(number, left[0], reason, len(left))


def _unequal(record, image, mask):
    return (
        f"{record.image} has {image.size[1]} x {image.size[0]} pixels and its mask "
        f"{record.mask} {mask.shape[1]} x {mask.shape[0]}, both upright; expected the same size."
    )
