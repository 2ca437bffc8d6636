"""Read and write masks."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_format import FileFormat
from keras_espmedsam.data.formats.known_formats import known_formats
from keras_espmedsam.data.images import MAX_PIXELS, inspect_image_file
from keras_espmedsam.data.label_table import parse_labels
from keras_espmedsam.data.stored_masks import stored_mask, stored_masks
from keras_espmedsam.data.targets import BACKGROUND
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.bands import bands
from keras_espmedsam.imaging.mask_colours import mask_channels
from keras_espmedsam.imaging.mask_values import foreground_scale, unit_mask

# How far a label may be from a whole number.
_INEXACT = 1e-4


def read_mask(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a mask as it is stored.

    If a mask holds 0 and one other value, that value is foreground. If its values rise gradually
    from 0 to the full range at edges (a JPEG, a resized mask), foreground is above half of the
    range. Masks with several labels are rejected, because it is unknown which one is meant; see
    `keras_espmedsam.imaging.mask_values.foreground_scale`. In a colour mask, foreground is one
    colour on black, a palette's index, or the opaque part; see
    `keras_espmedsam.imaging.mask_colours.mask_array`.

    Args:
        path: an image file of any supported type that holds one image.
        max_pixels: the most pixels that it may have.

    Returns:
        bool `(height, width)`, in the stored orientation.

    Raises:
        InputError: when the file cannot be read, holds several labels, or does not say which of
            its colours is foreground.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> Image.new("L", (2, 1), 255).save(path)
        >>> read_mask(path).tolist()
        [[True, True]]
    """
    file = inspect_image_file(path, max_pixels, mask=True)
    if file.count > 1:
        raise InputError(
            f"{path} holds {file.count} masks; expected one. Use read_masks for all of them."
        )
    return next(read_masks(path, max_pixels))


def read_masks(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Read all masks of a file: the slices of a label volume, frames, or pages.

    Foreground is decided for the whole file, with the rules of `read_mask`.

    Args:
        path: an image file of any supported type.
        max_pixels: the most pixels that one mask may have.

    Yields:
        bool `(height, width)`, in the stored orientation, in the order of `read_images`.

    Raises:
        InputError: as in `read_mask`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "masks.tif"
        >>> first, second = Image.new("L", (2, 1), 255), Image.new("L", (2, 1), 0)
        >>> first.save(path, save_all=True, append_images=[second])
        >>> [mask.tolist() for mask in read_masks(path)]
        [[[True, True]], [[False, False]]]
    """
    for image in decode_masks(path, max_pixels):
        yield image.layout.undo(image.array)


def decode_masks(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[DecodedImage]:
    """Read all masks of a file, turned upright by its own orientation.

    Args:
        path: see `read_masks`.
        max_pixels: the most pixels that one mask may have.

    Yields:
        `DecodedImage` whose `array` is bool.

    Raises:
        InputError: as `read_mask`.
    """
    images = _stored(path, max_pixels)
    scale = foreground_scale([image.array for image in images], str(path))
    for image in images:
        yield dataclasses.replace(image, array=unit_mask(image.array, scale) > 0.5)


def decode_labels(
    path: str | os.PathLike, max_pixels: int = MAX_PIXELS, table: str | None = None
) -> Iterator[DecodedImage]:
    """Read all images of a file of whole numbers, turned upright by its own orientation.

    Args:
        path: a label image, or an image of numbered objects; see `read_masks` for its type.
        max_pixels: the most pixels that one image may have.
        table: the names of its values, such as `"1=lungs"`; other values but 0 are then errors.
            If empty, all values are allowed. None for numbered objects, which must be 0 or more.

    Yields:
        `DecodedImage` whose `array` is int32, or int64 for larger numbers.

    Raises:
        InputError: when the file cannot be read, or holds values that are not whole numbers, not
            named by the table, or below 0.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "labels.png"
        >>> Image.new("L", (2, 1), 7).save(path)
        >>> next(decode_labels(path, table="7=heart")).array.tolist()
        [[7, 7]]
    """
    images = _stored(path, max_pixels, labels=True)
    named = {0, *parse_labels(table)} if table else None
    unnamed: set[int] = set()
    for number, image in enumerate(images):
        numbers, present = _whole_numbers(image.array, path)
        images[number] = dataclasses.replace(image, array=numbers)
        if table is None and present[0] < 0:
            raise InputError(
                f"{path} numbers objects by {present[0]}; expected 0 for the background and a "
                "number above 0 for each object."
            )
        unnamed.update([] if named is None else set(present) - named)
    if unnamed:
        values = sorted(unnamed)
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        one = values[0]
        raise InputError(
            f"{path} holds the value{'s' * (len(values) > 1)} {', '.join(map(str, values[:5]))}"
            f"{more} without a name in its labels {shown_value(table)}; name each, as in "
            f"{one}=NAME, or {one}={BACKGROUND} for none of the targets."
        )
    yield from images


def _stored(path, max_pixels, labels=False):
    """Return the stored values of all images of a file of masks, or of labels."""
    file = inspect_image_file(path, max_pixels, mask=True)
    if labels:
        _refuse_lossy(path)
    try:
        return [_in_one_channel(image) for image in file.images(labels=True)]
    except InputError as error:
        if str(path) in str(error):
            raise
        if labels:
            raise InputError(
                f"{path} holds colours that do not say which number each pixel has; save it with "
                "one channel, or a palette, whose values are the labels."
            ) from error
        raise InputError(f"{path} cannot be used. {error}") from error


def _refuse_lossy(path):
    """Reject JPEG and lossy WebP, in which labels become other labels at their edges."""
    with Path(path).open("rb") as file:
        head = file.read(16)
    if head.startswith(b"\xff\xd8\xff") or head[8:] == b"WEBPVP8 ":
        raise InputError(
            f"{path} is compressed with loss, which changes its values; save labels and numbered "
            "objects as PNG or TIFF."
        )


def _whole_numbers(array, path):
    """Return an array as integers, and the values it has, sorted."""
    if array.dtype in (np.uint8, np.uint16):  # Ten times faster than sorting.
        return array.astype("int32"), np.flatnonzero(np.bincount(array.ravel())).tolist()
    if array.dtype.kind == "f":
        # Larger floats are not exact, and may not fit. False for NaN, too.
        fits = bool((np.abs(array) <= 2**53).all())
        whole = np.round(array) if fits else array
        # NIfTI scales its values, and the product is not exact.
        fits = fits and bool((np.abs(array - whole) <= _INEXACT).all())
        array = whole
    else:
        fits = array.dtype.kind in "biu" and (not array.size or int(array.max()) < 2**63)
    if not fits:
        raise InputError(
            f"{path} holds values that are not whole numbers; expected a whole number for each "
            "label or object, such as 0, 1 and 2."
        )
    present = np.unique(array).astype("int64").tolist()
    small = np.abs(present).max() <= np.iinfo("int32").max
    return array.astype("int32" if small else "int64"), present


def _in_one_channel(image):
    array = image.array
    return image if array.ndim == 2 else dataclasses.replace(image, array=mask_channels(array))


def write_mask(
    path: str | os.PathLike,
    mask: np.ndarray | Sequence[np.ndarray],
    reference: DecodedImage | None = None,
) -> None:
    """Write a mask completely or not at all.

    With a `reference`, the mask gets the size and the orientation of the stored reference. A PNG
    holds 0 and 255, and repeats a JPEG's EXIF orientation so that viewers turn both alike. A NIfTI
    file holds 0 and 1, with the shape and affine of its reference and nothing else of the header.

    Args:
        path: a `.png` file, a `.nii` or `.nii.gz` file if the reference is a volume, or a file of
            another format that writes masks (`FileFormat.mask_suffixes`). An existing file is
            replaced.
        mask: `(height, width)` of any type, nonzero is foreground; for all formats except PNG, one
            such mask for every image of the file, in the order of `read_images`.
        reference: the image that was segmented.

    Raises:
        InputError: for an unknown suffix, or a mask that does not fit the reference.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_mask(path, np.array([[0, 1]]))
        >>> read_mask(path).tolist()
        [[False, True]]
    """
    path = Path(path)
    name = path.name.lower()
    formats = known_formats()
    for format in formats:
        if format.mask_suffixes and name.endswith(format.mask_suffixes):
            _write_as(format, path, mask, reference)
            return
    if not name.endswith(".png"):
        *endings, last = (".png", *(suffix for one in formats for suffix in one.mask_suffixes))
        raise InputError(
            f"Received {path} for a mask; expected a name ending in {', '.join(endings)} or {last}."
        )
    stored, exif = stored_mask(np.asarray(mask), reference)
    # Filled in bands, to need no second copy of a large mask.
    image = Image.new("L", stored.shape[::-1], None)
    for rows in bands(*stored.shape):
        part = np.where(stored[rows], np.uint8(255), np.uint8(0))
        image.paste(Image.fromarray(part), (0, rows.start))
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", **({} if exif is None else {"exif": exif}))


def _write_as(
    format: FileFormat,
    path: Path,
    mask: np.ndarray | Sequence[np.ndarray],
    reference: DecodedImage | None,
) -> None:
    """Write the masks of all images of a file to one file."""
    masks = stored_masks(format, path, mask, reference)
    with atomic_path(path, format.mask_suffix(path)) as temporary:
        format.write_masks(temporary, [one != 0 for one in masks], reference)
