"""Read the images of an evaluation with their true masks; bad files are skipped."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import NamedTuple

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import TargetPixels, target_images
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.measurement_log import file_stamps
from keras_espmedsam.evaluation.outcome import Outcome
from keras_espmedsam.evaluation.run_settings import record_files
from keras_espmedsam.imaging.intensity import AUTO, Intensity


class LabelledImage(NamedTuple):
    """An image with its true masks.

    Args:
        key: number of its record, and number of the image in its file.
        record: its record, whose `index` is that number in the file.
        image: the image, upright.
        labels: the labelled targets, by their names in the record, to their masks and objects,
            upright.
        files: stamps of its files when they were read; see `file_stamps`.
    """

    key: tuple[int, int]
    record: Record
    image: DecodedImage
    labels: dict[str, TargetPixels]
    files: list[int]

    def record_of(self, target: str) -> Record:
        """Return its record with one of the labelled targets alone."""
        if len(self.record.targets) < 2:
            return self.record
        own = tuple(one for one in self.record.targets if one.target == target)
        return dataclasses.replace(self.record, mask=None, other_masks=(), targets=own)


def read_labelled(
    outcome: Outcome,
    wanted: Mapping[int, Sequence[int]],
    max_pixels: int,
    intensity: Intensity = AUTO,
    with_instances: Collection[str] = (),
) -> Iterator[LabelledImage]:
    """Read images with their masks, one after another.

    Args:
        outcome: holds the records; failures are noted in it.
        wanted: a record's number to the numbers of the images of its file; with an empty list, the
            file is not opened.
        max_pixels: the most pixels that an image may have.
        intensity: the values shown as black and white if a record does not set them; see
            `read_images`.
        with_instances: modalities whose numbered objects are read, too, where there are any.

    Yields:
        A `LabelledImage` for each image that can be read.
    """
    for number, indices in wanted.items():
        record, left = outcome.records[number], list(indices)
        if not left:
            continue
        files = file_stamps(*record_files(record))
        try:
            instances = record.modality in with_instances
            for image, labels in target_images(record, max_pixels, intensity, instances):
                if image.index not in left:
                    continue
                left.remove(image.index)
                # Decoded pixels may contradict the header.
                wrong = _unequal(record, image, labels)
                if wrong:
                    outcome.fail(number, image.index, wrong)
                    continue
                found = dataclasses.replace(record, index=image.index)
                yield LabelledImage((number, image.index), found, image, labels, files)
            if left:
                raise InputError(
                    f"{record.image} or its mask {record.mask} holds fewer images than its header "
                    "states; get a new copy of them."
                )
        except InputError as error:
            reason = str(error)
            if len(left) > 1:
                reason += f" {len(left)} images of the file are not measured."
            outcome.fail(number, left[0], reason, len(left))


def _unequal(record, image, labels):
    """Say which mask has another size than the image; empty if none has."""
    for one in record.target_masks:
        for array in labels[one.target]:
            if array is not None and array.shape != image.size:
                return (
                    f"{record.image} has {image.size[1]} x {image.size[0]} pixels and its mask "
                    f"{one.mask} {array.shape[1]} x {array.shape[0]}, both upright; expected the "
                    "same size."
                )
    return ""
