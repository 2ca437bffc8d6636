"""Check that a mask fits its image: their sizes, EXIF orientations and positions in space."""

import numpy as np

from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.errors import InputError

# How far the corners of a mask's volume may be from those of its image, in voxels: more than
# rounding in headers causes, and less than would move a voxel to its neighbour.
_CORNER_TOLERANCE = 0.1
_RESAMPLE = "Resample the mask to the image's grid."


def pair_layout(image: ImageFile, mask: ImageFile) -> tuple[bool, str]:
    """Decide how the stored pixels of a mask are turned to fit the upright image.

    A mask with an EXIF orientation is turned by it. A mask without one, for an image with one, is
    already upright, as labelling tools write it, unless its size fits only the stored image.
    Two volumes must have the same position in space.

    Args:
        image: the image's file.
        mask: the mask's file.

    Returns:
        Whether the mask is turned like its image instead of by its own orientation; and, if the
        files are ambiguous, a notice: the end of a sentence that begins with the image's path.

    Raises:
        InputError: when they differ in number, size or position.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_espmedsam.data.images import inspect_image_file
        >>> path = tempfile.mkdtemp() + "/both.png"
        >>> Image.new("L", (6, 4)).save(path)
        >>> pair_layout(inspect_image_file(path), inspect_image_file(path))
        (False, '')

    Source: EXIF 2.3, tag 0x0112.
    """
    if mask.count != image.count:
        raise InputError(
            f"{image.path} holds {image.count} images and its mask {mask.path} {mask.count}; "
            "expected the same number."
        )
    if image.is_volume and mask.is_volume:
        return True, _same_place(image, mask)
    turned = [file.source.layout != Layout() and not file.is_volume for file in (image, mask)]
    stored_fits = mask.size == image.size
    if _upright_size(mask) == _upright_size(image):
        if image.is_volume != mask.is_volume:
            return False, _notice_of_volume(image, mask)
        # Both readings fit if turning keeps the size: half a turn, or a square.
        if turned[0] == turned[1] or not stored_fits:
            return False, ""
        return False, _notice(image, mask, "by its own orientation" if turned[1] else "as upright")
    if stored_fits and turned[0] != turned[1]:
        return True, _notice(image, mask, "as stored, the only way its size fits")
    raise InputError(
        f"{image.path} has {_pixels(image, ' pixels')} and its mask {mask.path} {_pixels(mask)}; "
        "expected the same size."
    )


def _upright_size(file):
    if file.is_volume:
        width, height = file.source.volume.shape[:2]
        return (height, width) if file.source.layout.swap else (width, height)
    return file.size[::-1] if file.source.layout.swap else file.size


def _pixels(file, unit=""):
    stored = f"{file.size[1]} x {file.size[0]}{unit}"
    if file.source.layout == Layout() or file.is_volume:
        return stored
    height, width = _upright_size(file)
    return f"{stored}, turned to {width} x {height} by EXIF orientation {file.source.layout.exif}"


def _notice(image, mask, reading):
    alone, who = (
        (mask, "only its mask") if image.source.layout == Layout() else (image, "only the image")
    )
    return (
        f"{who} has an EXIF orientation ({alone.source.layout.exif}), so the mask is read "
        f"{reading} (if that is wrong, save both upright, without an orientation)"
    )


def _notice_of_volume(image, mask):
    alone, who = (image, "the image") if image.is_volume else (mask, "its mask")
    return (
        f"only {who} is {alone.format.name}, so the mask is placed on the image as both are shown, "
        "with slices the way radiologists look at them (if that is wrong, save both as "
        f"{alone.format.name})"
    )


def _same_place(image, mask):
    """Reject a mask on another grid; return a notice if a header does not give a position."""
    here, there = image.source.volume, mask.source.volume
    shapes = [tuple(size for size in volume.shape[2:] if size > 1) for volume in (here, there)]
    if here.shape[:2] != there.shape[:2] or shapes[0] != shapes[1]:
        raise InputError(
            f"{image.path} has the shape {_numbers(here.shape)} and its mask {mask.path} "
            f"{_numbers(there.shape)}; expected the same size. {_RESAMPLE}"
        )
    if not (here.places or there.places):
        return ""
    if not (here.places and there.places):
        silent = "its mask's header" if here.places else "its header"
        return (
            f"{silent} does not give its position (qform_code and sform_code are 0), so image and "
            "mask are assumed to have their voxels in the same order"
        )
    # If qform and sform differ, programs use one or the other.
    if any(
        _distance(a, b, here.shape) <= _CORNER_TOLERANCE for a in here.places for b in there.places
    ):
        return ""
    raise InputError(
        f"{image.path} and its mask {mask.path} are volumes of different "
        f"{_difference(here.places[0], there.places[0])}. {_RESAMPLE}"
    )


def _distance(affine, other, shape):
    """Return the largest distance between corners, in voxels; NaN if voxels have no size."""
    if np.array_equal(affine, other):
        return 0.0
    last = [*(size - 1 for size in shape[:3]), *[0] * (3 - len(shape[:3]))]
    corners = np.array([[*corner, 1.0] for corner in np.ndindex(2, 2, 2)]) * [*last, 1]
    try:
        moved = np.linalg.solve(affine, other @ corners.T)
    except np.linalg.LinAlgError:
        return np.nan
    return float(np.abs(moved.T - corners)[:, :3].max())


def _difference(affine, other):
    sizes = [np.linalg.norm(one[:3, :3], axis=0) for one in (affine, other)]
    axes = [
        one[:3, :3] / np.where(size > 0, size, 1)
        for one, size in zip((affine, other), sizes, strict=True)
    ]
    sized = (sizes[0] > 0) & (sizes[1] > 0)
    cosine = np.clip((axes[0] * axes[1]).sum(axis=0).min(initial=1, where=sized), -1, 1)
    angle = float(np.degrees(np.arccos(cosine)))
    if angle > 45:
        return (
            "orientation; the mask's axes point to the patient's "
            f"{_directions(axes[1])}, the image's to {_directions(axes[0])}"
        )
    if not np.allclose(sizes[0], sizes[1], rtol=1e-3):
        return f"voxel size; the mask's measure {_millimetres(sizes[1])}, the image's " + (
            _millimetres(sizes[0])
        )
    if angle > 0.05:
        return f"orientation; the mask is rotated by {angle:.1f} degrees"
    offset = other[:3, 3] - affine[:3, 3]
    return f"place; the mask's origin lies {_millimetres(offset, ', ')} from the image's"


def _directions(axes):
    """Return the patient's side that each axis points to, such as `R, A, S`."""
    largest = np.abs(axes).argmax(axis=0)
    return ", ".join(
        ("LR", "PA", "IS")[axis][int(axes[axis, i] > 0)] for i, axis in enumerate(largest)
    )


def _millimetres(values, between=" x "):
    return between.join(f"{value:.4g}" for value in values) + " mm"


def _numbers(shape):
    return " x ".join(map(str, shape))
