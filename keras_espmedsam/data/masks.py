"""Masks on disk: reading a ground truth, writing a result."""

import dataclasses
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from keras_espmedsam._files import atomic_path
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_format import FileFormat
from keras_espmedsam.data.formats.known_formats import known_formats
from keras_espmedsam.data.images import MAX_PIXELS, inspect_image_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.mask_colours import mask_channels
from keras_espmedsam.imaging.mask_values import foreground_scale, unit_mask


def read_mask(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Read a mask as it is stored.

    A mask of 0 and one other value means what it says. One of more values that rise from 0 to the
    full range at edges (a JPEG, a resized mask) is foreground above half of it. Others hold
    several labels, and are refused, because which of them is meant is unknown; see
    `keras_espmedsam.imaging.mask_values.foreground_scale`. In colour a mask is one colour on
    black, a palette's index, or what is opaque; see
    `keras_espmedsam.imaging.mask_colours.mask_array`.

    Args:
        path: an image file of any supported type that holds one image.
        max_pixels: the most pixels that it may have.

    Returns:
        bool `(height, width)`, in the orientation in which the file is stored.

    Raises:
        InputError: when the file cannot be read, holds several labels, or does not say which of
            its colours is foreground.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> Image.new("L", (2, 1), 255).save(path)
        >>> read_mask(path).tolist()
        [[True, True]]

    Source: ours.
    """
    file = inspect_image_file(path, max_pixels, mask=True)
    if file.count > 1:
        raise InputError(
            f"{path} holds {file.count} masks; expected one. Use read_masks for all of them."
        )
    return next(read_masks(path, max_pixels))


def read_masks(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[np.ndarray]:
    """Read all masks of a file: the slices of a label volume, frames, or pages.

    What is foreground is decided for the whole file, as `read_mask` says.

    Args:
        path: an image file of any supported type.
        max_pixels: the most pixels that one mask may have.

    Yields:
        bool `(height, width)`, in the orientation in which the file is stored, in the order of
        `read_images`.

    Raises:
        InputError: as `read_mask`.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "masks.tif"
        >>> first, second = Image.new("L", (2, 1), 255), Image.new("L", (2, 1), 0)
        >>> first.save(path, save_all=True, append_images=[second])
        >>> [mask.tolist() for mask in read_masks(path)]
        [[[True, True]], [[False, False]]]

    Source: ours.
    """
    for image in decode_masks(path, max_pixels):
        yield image.layout.undo(image.array)


def decode_masks(path: str | os.PathLike, max_pixels: int = MAX_PIXELS) -> Iterator[DecodedImage]:
    """Read all masks of a file, upright by its own orientation.

    Args:
        path: see `read_masks`.
        max_pixels: the most pixels that one mask may have.

    Yields:
        `DecodedImage` whose `array` is bool.

    Raises:
        InputError: as `read_mask`.

    Source: ours.
    """
    file = inspect_image_file(path, max_pixels, mask=True)
    try:
        images = [_in_one_channel(image) for image in file.images(labels=True)]
    except InputError as error:
        if str(path) in str(error):
            raise
        raise InputError(f"{path} cannot be used. {error}") from error
    scale = foreground_scale([image.array for image in images], str(path))
    for image in images:
        yield dataclasses.replace(image, array=unit_mask(image.array, scale) > 0.5)


def _in_one_channel(image):
    array = image.array
    return image if array.ndim == 2 else dataclasses.replace(image, array=mask_channels(array))


def write_mask(
    path: str | os.PathLike,
    mask: np.ndarray | Sequence[np.ndarray],
    reference: DecodedImage | None = None,
) -> None:
    """Write a mask, complete or not at all.

    With a `reference` the mask gets the size and the orientation of what is stored in the
    reference's file. A PNG holds 0 and 255, and repeats a JPEG's EXIF orientation, so that
    viewers turn both alike. A NIfTI file holds 0 and 1, with its reference's shape and affine,
    and nothing else of the header.

    Args:
        path: a `.png` file, or `.nii` or `.nii.gz` when the reference is a volume, or a name of
            another format that writes masks (`FileFormat.mask_suffixes`). An existing file is
            replaced.
        mask: `(height, width)` of any type, nonzero is foreground; for all formats but PNG one
            such mask for every image of the file, in the order of `read_images`.
        reference: the image that was segmented.

    Raises:
        InputError: when the suffix is another one, or the mask does not fit the reference.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "mask.png"
        >>> write_mask(path, np.array([[0, 1]]))
        >>> read_mask(path).tolist()
        [[False, True]]

    Source: ours.
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
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"Received a mask of shape {mask.shape}; expected (height, width).")
    exif = Image.Exif()
    if reference is not None:
        if mask.shape != reference.size:
            raise InputError(
                f"Received a mask of {mask.shape} for {reference.path}, which is of "
                f"{reference.size}; give it the height and width of its image."
            )
        if reference.volume is None:
            mask = reference.layout.undo(mask)
            exif[ExifTags.Base.Orientation] = reference.layout.exif
    image = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    turned = exif.get(ExifTags.Base.Orientation, 1) != 1
    with atomic_path(path) as temporary:
        image.save(temporary, format="PNG", **({"exif": exif} if turned else {}))


def _write_as(
    format: FileFormat,
    path: Path,
    mask: np.ndarray | Sequence[np.ndarray],
    reference: DecodedImage | None,
) -> None:
    """Write the masks of all images of a file as one file of a format."""
    if format.masks_need_volume and (reference is None or reference.volume is None):
        raise InputError(
            f"Received the {format.name} name {path} for a mask without a {format.name} image as "
            "its reference; give one, or write a .png file."
        )
    masks = [np.asarray(one) for one in mask]
    if masks and all(one.ndim == 1 for one in masks):
        masks = [np.asarray(mask)]
    if not masks or any(one.ndim != 2 or not one.size for one in masks):
        shapes = ", ".join(sorted({str(one.shape) for one in masks})) or "none"
        raise InputError(
            f"Received masks of the shapes {shapes}; expected (height, width) for each "
            f"{format.image_word}."
        )
    if reference is not None:
        count = reference.count if reference.volume is None else reference.volume.count
        if len(masks) != count:
            raise InputError(
                f"Received {len(masks)} masks for the {count} {format.image_word}s of "
                f"{reference.path}; give one per {format.image_word}."
            )
        for one in masks:
            if one.shape != reference.size:
                raise InputError(
                    f"Received a mask of {one.shape} for a {format.image_word} of "
                    f"{reference.path}, which is of {reference.size}; give each mask its "
                    f"{format.image_word}'s height and width."
                )
        masks = [reference.layout.undo(one) for one in masks]
    with atomic_path(path, format.mask_suffix(path)) as temporary:
        format.write_masks(temporary, [one != 0 for one in masks], reference)
