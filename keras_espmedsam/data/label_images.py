"""Write label images: a number for each object of an image."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_espmedsam._files import atomic_path
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_format import FileFormat
from keras_espmedsam.data.formats.known_formats import known_formats
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.stored_masks import checked_numbers, stored_mask, stored_masks
from keras_espmedsam.errors import InputError

_TIFF = (".tif", ".tiff")
_MOST_OF_16_BITS = 2**16 - 1


def label_suffix(file: ImageFile) -> str:
    """Return the suffix of the label images of a file.

    Args:
        file: from `inspect_image_file`.

    Returns:
        That of its masks if its format can hold labels, as NIfTI does, else `".png"`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "cells.jpg"
        >>> Image.new("L", (2, 1)).save(path)
        >>> label_suffix(kem.data.inspect_image_file(path))
        '.png'
    """
    return file.mask_suffix if file.format.writes_labels else ".png"


def write_labels(
    path: str | os.PathLike,
    labels: np.ndarray | Sequence[np.ndarray],
    reference: DecodedImage | None = None,
) -> None:
    """Write a label image completely or not at all.

    With a `reference`, it gets the size and the orientation of the stored reference, as in
    `write_mask`. PNG files have 16 bits; TIFF files have 16, or 32 if there are more objects. A
    NIfTI file holds all slices, and numbers go on from slice to slice, because objects of two
    slices are not the same object.

    Args:
        path: a `.png`, `.tif` or `.tiff` file, or a `.nii` or `.nii.gz` file if the reference is a
            volume. An existing file is replaced.
        labels: integers `(height, width)`, 0 for the background and a number for each object; for
            a volume, one such array for each slice.
        reference: the image that was segmented.

    Raises:
        InputError: for an unknown suffix, labels that do not fit the reference, negative numbers,
            or more objects than the file can number.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "nuclei.png"
        >>> write_labels(path, np.array([[0, 1, 2]]))
        >>> np.asarray(Image.open(path)).tolist()
        [[0, 1, 2]]
    """
    path = Path(path)
    name = path.name.lower()
    several = [one for one in known_formats() if one.writes_labels]
    for format in several:
        if name.endswith(format.mask_suffixes):
            _write_all(format, path, labels, reference)
            return
    if not name.endswith((".png", *_TIFF)):
        *endings, last = (".png", *_TIFF, *(end for one in several for end in one.mask_suffixes))
        raise InputError(
            f"Received {path} for a label image; expected a name ending in {', '.join(endings)} "
            f"or {last}."
        )
    array = checked_numbers(np.asarray(labels))
    most = int(array.max(initial=0))
    tiff = name.endswith(_TIFF)
    if most > _MOST_OF_16_BITS and not tiff:
        raise InputError(
            f"Received labels up to {most:,} for {path}, but a PNG file has numbers up to "
            f"{_MOST_OF_16_BITS:,}; write a .tiff file."
        )
    array, exif = stored_mask(array, reference, "label image")
    dtype = np.uint16 if most <= _MOST_OF_16_BITS else np.int32
    image = Image.fromarray(np.ascontiguousarray(array, dtype))
    options: dict[str, Any] = {} if exif is None else {"exif": exif}
    if tiff:
        options["compression"] = "tiff_adobe_deflate"
    with atomic_path(path) as temporary:
        image.save(temporary, format="TIFF" if tiff else "PNG", **options)


def _write_all(
    format: FileFormat,
    path: Path,
    labels: np.ndarray | Sequence[np.ndarray],
    reference: DecodedImage | None,
) -> None:
    stored = stored_masks(format, path, labels, reference, "label image")
    found, last = [], 0
    for one in stored:
        one = checked_numbers(one).astype(np.int32)
        found.append(np.where(one != 0, one + last, 0))
        last = int(found[-1].max(initial=last))
    dtype = np.uint16 if last <= _MOST_OF_16_BITS else np.int32
    with atomic_path(path, format.mask_suffix(path)) as temporary:
        format.write_labels(temporary, [one.astype(dtype) for one in found], reference)
