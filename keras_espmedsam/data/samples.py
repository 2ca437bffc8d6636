"""The pictures of a record, each with its mask: what a model is trained on."""

import itertools
from collections.abc import Iterator

import numpy as np

from keras_espmedsam.data.masks import read_masks
from keras_espmedsam.data.picture import Picture
from keras_espmedsam.data.pictures import (
    MAX_PIXELS,
    Intensity,
    PictureFile,
    inspect_picture_file,
)
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import AUTO


def read_samples(
    record: Record, max_pixels: int = MAX_PIXELS, intensity: Intensity | None = None
) -> Iterator[tuple[Picture, np.ndarray | None]]:
    """Read the pictures of a record's file with their masks.

    A mask belongs to its picture as both are stored; both are then turned upright together, as
    `read_pictures` turns a picture that is to be segmented.

    Args:
        record: which files. Of a file with several pictures (slices, frames, pages) all, or that
            of the record's `index`.
        max_pixels: the most pixels that one picture may have.
        intensity: what is black and white where the record does not say it; see `read_pictures`.

    Yields:
        The `Picture` and its mask, bool `(height, width)`, upright; None for a record without.

    Raises:
        InputError: when a file cannot be used, or image and mask differ in size, in number or in
            the orientation of their volumes.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "both.png"
        >>> Image.new("L", (6, 4), 255).save(path)
        >>> picture, mask = next(read_samples(Record("train", "xray", "lungs", path, path)))
        >>> picture.size, mask.shape, bool(mask.all())
        ((4, 6), (4, 6), True)

    Source: ours.
    """
    file = inspect_record(record, max_pixels)
    index, end = record.index, None if record.index is None else record.index + 1
    images = file.pictures(intensity=record.intensity or intensity or AUTO)
    masks = itertools.repeat(None) if record.mask is None else _masks(record, file, max_pixels)
    for picture, mask in itertools.islice(zip(images, masks, strict=False), index, end):
        yield picture, None if mask is None else picture.layout.apply(mask)


def inspect_record(record: Record, max_pixels: int = MAX_PIXELS) -> PictureFile:
    """Read the headers of a record's files, and check that they fit, without decoding pixels.

    Args:
        record: which files.
        max_pixels: the most pixels that one picture may have.

    Returns:
        The image's `PictureFile`.

    Raises:
        InputError: when a file cannot be used, or image and mask differ in size or in number.

    Source: ours.
    """
    file = inspect_picture_file(record.image, max_pixels)
    if record.index is not None and not 0 <= record.index < file.count:
        raise InputError(
            f"Received the index {record.index} for {record.image}, which holds {file.count} "
            f"pictures; expected 0 to {file.count - 1}."
        )
    if record.mask is None:
        return file
    other = inspect_picture_file(record.mask, max_pixels)
    if other.count != file.count:
        raise InputError(
            f"{record.image} holds {file.count} pictures and its mask {record.mask} "
            f"{other.count}; expected as many."
        )
    if other.size != file.size:
        raise InputError(
            f"{record.image} has {file.size[1]} x {file.size[0]} pixels and its mask {record.mask} "
            f"{other.size[1]} x {other.size[0]}; expected the same size."
        )
    return file


def _masks(record, file, max_pixels):
    other = inspect_picture_file(record.mask, max_pixels)
    if file.is_volume and other.is_volume and _directions(file) != _directions(other):
        raise InputError(
            f"{record.image} and its mask {record.mask} are volumes of different orientation; "
            "expected the same. Resample the mask to the image's grid."
        )
    return read_masks(record.mask, max_pixels)


def _directions(file):
    """Which way of the patient each stored axis goes, with its sign."""
    affine = np.asarray(next(file.pictures(labels=True)).volume.affine)[:3, :3]
    axes = np.abs(affine).argmax(axis=0)
    return [(int(axis), bool(affine[axis, i] > 0)) for i, axis in enumerate(axes)]
