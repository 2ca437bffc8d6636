"""Masks and label images as they are stored: checked against their image, and turned like it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_format import FileFormat
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.instance_maps import checked_labels


def stored_mask(
    mask: np.ndarray, reference: DecodedImage | None, word: str = "mask"
) -> tuple[np.ndarray, Image.Exif | None]:
    """Return a mask of one image in the orientation of the stored image.

    Args:
        mask: `(height, width)`, upright.
        reference: the image that it belongs to; None to leave the mask as it is. A slice of a
            volume leaves it upright, too, because other files have no axes.
        word: what it is called in messages.

    Returns:
        The mask, and the EXIF orientation that viewers turn it by; None if they need none.

    Raises:
        InputError: when it has not the size of its image.

    Example:
        >>> stored_mask(np.array([[0, 1]]), None)[0].tolist()
        [[0, 1]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or not mask.size:
        raise InputError(f"Received a {word} of shape {mask.shape}; expected (height, width).")
    if reference is None:
        return mask, None
    if mask.shape != reference.size:
        raise InputError(
            f"Received a {word} of shape {mask.shape} for {reference.path}, which has "
            f"{reference.size}; give the {word} the height and width of its image."
        )
    if reference.volume is not None:
        return mask, None
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = reference.layout.exif
    return reference.layout.undo(mask), exif if reference.layout.exif != 1 else None


def checked_objects(objects: Any) -> Mapping[str, np.ndarray]:
    """Return masks or label images by the name of their target.

    Raises:
        InputError: for anything but a dict of these.

    Example:
        >>> list(checked_objects({"nuclei": np.zeros((2, 2), "int32")}))
        ['nuclei']
    """
    if not isinstance(objects, Mapping):
        raise InputError(
            f"Received objects of type {type(objects).__name__}; expected a dict of target to mask "
            'or label image, such as {"nuclei": labels}.'
        )
    return objects


def checked_numbers(labels: np.ndarray) -> np.ndarray:
    """Return a label image as an array of integers whose objects a file can number.

    Args:
        labels: `(height, width)`, 0 for the background and a number for each object; a mask of
            bool is one object.

    Raises:
        InputError: for another shape or type, and for numbers below 0 or of more than 31 bits.

    Example:
        >>> checked_numbers(np.array([[0, -1]]))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received labels from -1 to 0; expected 0 for the \
background and numbers from 1 to 2,147,483,647 for the objects.
    """
    labels = checked_labels(labels)
    low, high = int(labels.min(initial=0)), int(labels.max(initial=0))
    if low < 0 or high >= 2**31:
        raise InputError(
            f"Received labels from {low} to {high}; expected 0 for the background and numbers "
            "from 1 to 2,147,483,647 for the objects."
        )
    return labels


def stored_masks(
    format: FileFormat,
    path: Path,
    masks: np.ndarray | Sequence[np.ndarray],
    reference: DecodedImage | None,
    word: str = "mask",
) -> list[np.ndarray]:
    """Return the masks of all images of a file, in the orientation of the stored images.

    Args:
        format: the format that they will be written in.
        path: where.
        masks: `(height, width)` for each image of the file, upright, or one such mask.
        reference: one of the images; None to leave the masks as they are.
        word: what they are called in messages.

    Raises:
        InputError: when their number or size is not that of the images, or a reference is missing.

    Example:
        >>> from keras_espmedsam.data.formats.nifti import NiftiFormat
        >>> stored_masks(NiftiFormat(), Path("mask.nii"), np.ones((2, 2)), None)
        Traceback (most recent call last):
        ...
        keras_espmedsam.errors.InputError: Received mask.nii for a NIfTI mask without a NIfTI \
image as its reference; give one, or write a .png file.
    """
    if format.masks_need_volume and (reference is None or reference.volume is None):
        raise InputError(
            f"Received {path} for a {format.name} {word} without a {format.name} image as its "
            "reference; give one, or write a .png file."
        )
    stored = [np.asarray(one) for one in masks]
    if stored and all(one.ndim == 1 for one in stored):
        stored = [np.asarray(masks)]
    if not stored or any(one.ndim != 2 or not one.size for one in stored):
        shapes = ", ".join(sorted({str(one.shape) for one in stored})) or "none"
        raise InputError(
            f"Received {word}s of the shapes {shapes}; expected (height, width) for each "
            f"{format.image_word}."
        )
    if reference is None:
        return stored
    count = reference.count if reference.volume is None else reference.volume.count
    if len(stored) != count:
        raise InputError(
            f"Received {len(stored)} {word}s for the {count} {format.image_word}s of "
            f"{reference.path}; give one per {format.image_word}."
        )
    for one in stored:
        if one.shape != reference.size:
            raise InputError(
                f"Received a {word} of shape {one.shape} for a {format.image_word} of "
                f"{reference.path}, which has {reference.size}; give each {word} the height and "
                f"width of its {format.image_word}."
            )
    return [reference.layout.undo(one) for one in stored]
