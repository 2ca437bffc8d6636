"""The images of a record, each with its mask: what a model is trained on."""

import dataclasses
import itertools
import warnings
from collections.abc import Iterator

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import (
    MAX_PIXELS,
    ImageFile,
    inspect_image_file,
)
from keras_espmedsam.data.masks import decode_masks
from keras_espmedsam.data.pairing import pair_layout
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.imaging.intensity import AUTO, Intensity


def read_samples(
    record: Record, max_pixels: int = MAX_PIXELS, intensity: Intensity | None = None
) -> Iterator[tuple[DecodedImage, np.ndarray | None]]:
    """Read the images of a record's file with their masks.

    Both are upright, as `read_images` turns an image that is to be segmented. A mask without
    an EXIF orientation is so already, as labelling tools write it, unless its size fits what is
    stored of the image alone. Volumes are paired by their places in space.

    Args:
        record: which files. Of a file with several images (slices, frames, pages) all, or that
            of the record's `index`.
        max_pixels: the most pixels that one image may have.
        intensity: what is black and white where the record does not say it; see `read_images`.

    Yields:
        The `DecodedImage` and its mask, bool `(height, width)`, upright; None for a record without.

    Raises:
        InputError: when a file cannot be used, or image and mask differ in size, in number or in
            the place of their volumes.

    Warns:
        InputWarning: where the image or the mask alone has an EXIF orientation and both readings
            fit, or is NIfTI, a volume's header does not say where it lies, or nothing tells what is
            black and white.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from pathlib import Path
        >>> path = Path(tempfile.mkdtemp()) / "both.png"
        >>> Image.new("L", (6, 4), 255).save(path)
        >>> image, mask = next(read_samples(Record("train", "xray", "lungs", path, path)))
        >>> image.size, mask.shape, bool(mask.all())
        ((4, 6), (4, 6), True)

    Source: ours.
    """
    told = set()
    for image, mask in labelled_images(record, max_pixels, intensity):
        if image.notice and image.notice not in told:
            told.add(image.notice)
            warnings.warn(f"{record.image}: {image.notice}.", InputWarning, stacklevel=2)
        yield image, mask


def labelled_images(
    record: Record, max_pixels: int = MAX_PIXELS, intensity: Intensity | None = None
) -> Iterator[tuple[DecodedImage, np.ndarray | None]]:
    """As `read_samples`, for callers that pass on what is to be said, `DecodedImage.notice`.

    Source: ours.
    """
    file = inspect_record(record, max_pixels)
    index, end = record.index, None if record.index is None else record.index + 1
    images = file.images(intensity=record.intensity or intensity or AUTO)
    stored_as_image, masks, notices = [], [], []
    for path in _mask_paths(record):
        alike, notice = pair_layout(file, inspect_image_file(path, max_pixels, mask=True))
        notices.append(notice)
        stored_as_image.append(alike)
        masks.append(decode_masks(path, max_pixels))
    for image, *found in itertools.islice(zip(images, *masks, strict=False), index, end):
        upright = [
            image.layout.apply(one.layout.undo(one.array)) if alike else one.array
            for one, alike in zip(found, stored_as_image, strict=True)
        ]
        notice = "; ".join(dict.fromkeys(filter(None, [image.notice, *notices])))
        mask = np.logical_or.reduce(upright) if upright else None
        yield dataclasses.replace(image, notice=notice), mask


def inspect_record(record: Record, max_pixels: int = MAX_PIXELS) -> ImageFile:
    """Read the headers of a record's files, and check that they fit, without decoding pixels.

    Args:
        record: which files.
        max_pixels: the most pixels that one image may have.

    Returns:
        The image's `ImageFile`.

    Raises:
        InputError: when a file cannot be used, or image and mask differ in size, in number or in
            the place of their volumes.

    Source: ours.
    """
    file = inspect_image_file(record.image, max_pixels)
    if record.index is not None and not 0 <= record.index < file.count:
        raise InputError(
            f"Received the index {record.index} for {record.image}, which holds {file.count} "
            f"images; expected 0 to {file.count - 1}."
        )
    for path in _mask_paths(record):
        pair_layout(file, inspect_image_file(path, max_pixels, mask=True))
    return file


def _mask_paths(record):
    return [] if record.mask is None else [record.mask, *record.other_masks]
