"""Read the images of a record, each with its mask."""

import dataclasses
import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import (
    MAX_PIXELS,
    ImageFile,
    inspect_image_file,
)
from keras_espmedsam.data.instance_agreement import check_agreement
from keras_espmedsam.data.masks import decode_labels, decode_masks
from keras_espmedsam.data.pairing import pair_layout
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.imaging.intensity import AUTO, Intensity


class TargetPixels(NamedTuple):
    """The labels of one target in one image, upright.

    Args:
        mask: bool `(height, width)`.
        instances: int32 `(height, width)`, the number of each pixel's object, 0 for the
            background; None if the objects are not told apart.

    Example:
        >>> TargetPixels(np.array([[True, False]])).instances is None
        True
    """

    mask: np.ndarray
    instances: np.ndarray | None = None


def read_samples(
    record: Record,
    max_pixels: int = MAX_PIXELS,
    intensity: Intensity | None = None,
    target: str | None = None,
) -> Iterator[tuple[DecodedImage, np.ndarray | None]]:
    """Read the images of a record's file with their masks.

    Both are upright, like the images of `read_images`. A mask without an EXIF orientation is
    already upright, as labelling tools write it, unless its size fits only the stored image.
    Volumes must have the same position in space.

    Args:
        record: the record. For a file with several images (slices, frames, pages), all are read,
            or only that of the record's `index`.
        max_pixels: the most pixels that one image may have.
        intensity: the values shown as black and white if the record does not set them; see
            `read_images`.
        target: whose mask, if the record has several targets; see `read_targets` for all.

    Yields:
        The `DecodedImage` and its mask, bool `(height, width)`, upright; None if it has no mask.

    Raises:
        InputError: when a file cannot be used, image and mask differ in size, number or position
            in space, or the record has several targets and `target` does not choose one.

    Warns:
        InputWarning: when only one of image and mask has an EXIF orientation or is NIfTI, a
            volume's header does not give its position, or a file does not declare black and white.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "both.png"
        >>> Image.new("L", (6, 4), 255).save(path)
        >>> image, mask = next(read_samples(Record("train", "xray", "lungs", path, path)))
        >>> image.size, mask.shape, bool(mask.all())
        ((4, 6), (4, 6), True)
    """
    told = set()
    for image, mask in labelled_images(record, max_pixels, intensity, target):
        if image.notice and image.notice not in told:
            told.add(image.notice)
            warnings.warn(f"{record.image}: {image.notice}.", InputWarning, stacklevel=2)
        yield image, mask


def read_targets(
    record: Record, max_pixels: int = MAX_PIXELS, intensity: Intensity | None = None
) -> Iterator[tuple[DecodedImage, dict[str, TargetPixels]]]:
    """Read the images of a record's file with the masks of all its targets.

    Args:
        record, max_pixels, intensity: see `read_samples`.

    Yields:
        The `DecodedImage`, and dict of target to `TargetPixels`: `mask`, bool `(height, width)`,
        and `instances`, int32 of the same shape (0 is background), or None. The name is empty for
        a mask of the modality's first target.

    Raises:
        InputError: see `read_samples`; also for values of a label image without a name, and for
            more than 1 percent of a target's mask or numbered objects that contradicts the other.

    Warns:
        InputWarning: see `read_samples`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from pathlib import Path
        >>> from keras_espmedsam.data import TargetMask
        >>> path = Path(tempfile.mkdtemp()) / "labels.png"
        >>> Image.fromarray(np.array([[0, 1, 2]], "uint8")).save(path)
        >>> table = "1=lungs;2=lungs+heart"
        >>> record = Record("train", "xray", "jsrt", path, targets=(
        ...     TargetMask("lungs", path, value=(1, 2), table=table),
        ...     TargetMask("heart", path, value=2, table=table)))
        >>> _, found = next(read_targets(record))
        >>> {name: one.mask.tolist() for name, one in found.items()}
        {'lungs': [[False, True, True]], 'heart': [[False, False, True]]}
    """
    told = set()
    for image, found in target_images(record, max_pixels, intensity):
        if image.notice and image.notice not in told:
            told.add(image.notice)
            warnings.warn(f"{record.image}: {image.notice}.", InputWarning, stacklevel=2)
        yield image, found


def labelled_images(
    record: Record,
    max_pixels: int = MAX_PIXELS,
    intensity: Intensity | None = None,
    target: str | None = None,
) -> Iterator[tuple[DecodedImage, np.ndarray | None]]:
    """Like `read_samples`, but leave it to the caller to report `DecodedImage.notice`."""
    record = _of_target(record, target)
    for image, found in target_images(record, max_pixels, intensity, instances=False):
        yield image, next((one.mask for one in found.values()), None)


def target_images(
    record: Record,
    max_pixels: int = MAX_PIXELS,
    intensity: Intensity | None = None,
    instances: bool = True,
) -> Iterator[tuple[DecodedImage, dict[str, TargetPixels]]]:
    """Like `read_targets`, but leave it to the caller to report `DecodedImage.notice`.

    Args:
        record, max_pixels, intensity: see `read_targets`.
        instances: False to leave the images of instances unread.
    """
    file = inspect_record(record, max_pixels)
    index, end = record.index, None if record.index is None else record.index + 1
    images = file.images(intensity=record.intensity or intensity or AUTO)
    # Each file is decoded once, whatever the number of targets in it.
    masks, notices = {}, []
    for path, table in _parts(record, instances):
        alike, notice = pair_layout(file, inspect_image_file(path, max_pixels, mask=True))
        notices.append(notice)
        masks[path, table] = (
            alike,
            decode_masks(path, max_pixels)
            if table == _PLAIN
            else decode_labels(path, max_pixels, table),
        )
    decoded = zip(images, *(one for _, one in masks.values()), strict=False)
    for image, *found in itertools.islice(decoded, index, end):
        upright = {
            key: image.layout.apply(one.layout.undo(one.array)) if alike else one.array
            for (key, (alike, _)), one in zip(masks.items(), found, strict=True)
        }
        notice = "; ".join(dict.fromkeys(filter(None, [image.notice, *notices])))
        yield (
            dataclasses.replace(image, notice=notice),
            {one.target: _pixels(one, upright, instances) for one in record.target_masks},
        )


def inspect_record(record: Record, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Check that the headers of a record's files fit, without decoding pixels.

    Args:
        record: the record.
        max_pixels: the most pixels that one image may have.

    Returns:
        The image's `ImageFile`.

    Raises:
        InputError: when a file cannot be used, or image and mask differ in size, number or
            position in space.
    """
    file = inspect_image_file(record.image, max_pixels)
    if record.index is not None and not 0 <= record.index < file.count:
        raise InputError(
            f"Received the index {record.index} for {record.image}, which holds {file.count} "
            f"images; expected 0 to {file.count - 1}."
        )
    for path in dict.fromkeys(path for path, _ in _parts(record, instances=True)):
        pair_layout(file, inspect_image_file(path, max_pixels, mask=True))
    return file


# In the place of a label image's table: a mask of foreground and background.
_PLAIN = "mask"


def _parts(record, instances):
    """Return each file to decode, with its table: see `decode_labels`, or `_PLAIN`."""
    found: list[tuple[Path, str | None]] = []
    for one in record.target_masks:
        found += [(path, _mask_table(one, path)) for path in one.mask_files]
        if instances and one.instances is not None:
            found.append((one.instances, None))
    return list(dict.fromkeys(found))


def _mask_table(one, path):
    if path == one.instances and one.values is None:
        return None
    if one.values is None or path != one.mask:
        return _PLAIN
    return one.table


def _pixels(one, upright, instances):
    masks = []
    for path in one.mask_files:
        array = upright[path, _mask_table(one, path)]
        if array.dtype != bool:
            array = array > 0 if one.values is None else np.isin(array, one.values)
        masks.append(array)
    mask = np.logical_or.reduce(masks)
    numbered = None
    if instances and one.instances is not None:
        numbered = _as_int32(upright[one.instances, None])
        check_agreement(one, mask, numbered)
    elif instances and one.objects:
        numbered = np.zeros(masks[0].shape, "int32")
        for number, own in enumerate(masks, start=1):
            numbered[own] = number
    return TargetPixels(mask, numbered)


def _as_int32(numbers):
    """Number objects anew if their numbers are too large."""
    if numbers.max(initial=0) > np.iinfo("int32").max:
        present = np.unique(numbers)
        numbers = np.searchsorted(present[present > 0], numbers) + (numbers > 0)
    return numbers.astype("int32")


def _of_target(record, target):
    """Return a record with one of its targets."""
    names = [one.target for one in record.targets]
    if target is None and len(names) < 2:
        return record
    if target not in names:
        wanted = "one of them" if target is None else f"the target {shown_value(target)} of them"
        has = f"has the targets {', '.join(names)}" if names else "has masks without targets' names"
        raise InputError(
            f"Received {shown(record.image)}, which {has}, to read {wanted}; choose one of its "
            "targets by name, or read all with read_targets."
        )
    (own,) = (one for one in record.targets if one.target == target)
    return dataclasses.replace(record, mask=None, other_masks=(), targets=(own,))
