"""How a mask lies on its image: their sizes, EXIF orientations and places in space."""

import numpy as np

from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.errors import InputError

# By how much of a voxel the corners of a mask's volume may lie beside those of its image: more
# than headers lose by rounding, and less than moves any voxel to its neighbour.
_CORNER_TOLERANCE = 0.1
_RESAMPLE = "Resample the mask to the image's grid."


def pair_layout(image: ImageFile, mask: ImageFile) -> tuple[bool, str]:
    """How the stored pixels of a mask are turned, so that they lie on the upright image.

    A mask with an orientation of its own is turned by that. One without, of a photograph with an
    EXIF orientation, is upright already, as labelling tools write it, unless its size fits what
    is stored alone. Of two volumes, voxels at the same place belong together.

    Args:
        image: the image's file.
        mask: the mask's file.

    Returns:
        Whether the mask is stored as its image is, so that it is turned as that, and not by its
        own orientation; and where this could be meant otherwise the end of a sentence that begins
        with the image, else an empty one.

    Raises:
        InputError: when they differ in number, size or place.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> from keras_espmedsam.data.images import inspect_image_file
        >>> path = tempfile.mkdtemp() + "/both.png"
        >>> Image.new("L", (6, 4)).save(path)
        >>> pair_layout(inspect_image_file(path), inspect_image_file(path))
        (False, '')

    Source: ours; the orientations are those of EXIF 2.3, tag 0x0112.
    """
    if mask.count != image.count:
        raise InputError(
            f"{image.path} holds {image.count} images and its mask {mask.path} {mask.count}; "
            "expected as many."
        )
    if image.is_volume and mask.is_volume:
        return True, _same_place(image, mask)
    turned = [file.source.layout != Layout() and not file.is_volume for file in (image, mask)]
    stored_fits = mask.size == image.size
    if _upright_size(mask) == _upright_size(image):
        if image.is_volume != mask.is_volume:
            return False, _notice_of_volume(image, mask)
        # Both fit where a turn keeps the size: half a turn, or a square.
        if turned[0] == turned[1] or not stored_fits:
            return False, ""
        return False, _notice(image, mask, "by its own orientation" if turned[1] else "as upright")
    if stored_fits and turned[0] != turned[1]:
        return True, _notice(image, mask, "as stored, because its size fits no other way")
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
        (mask, "its mask alone") if image.source.layout == Layout() else (image, "it alone")
    )
    return (
        f"{who} of the two has an EXIF orientation ({alone.source.layout.exif}), so the mask is "
        f"read {reading} (if that is wrong, save both upright, without an orientation)"
    )


def _notice_of_volume(image, mask):
    alone, who = (image, "it") if image.is_volume else (mask, "its mask")
    return (
        f"{who} alone of the two is {alone.format.name}, so the mask is read as lying on the image "
        "as both are shown, a slice the way radiologists look at it (if that is wrong, save both "
        f"as {alone.format.name})"
    )


def _same_place(image, mask):
    """Refuse a mask of another grid; a notice where a header does not say where it lies."""
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
            f"{silent} does not say where it lies (qform_code and sform_code are 0), so its voxels "
            "and those of its mask are taken to lie in the same order"
        )
    # Where qform and sform differ, programs follow the one or the other.
    if any(
        _distance(a, b, here.shape) <= _CORNER_TOLERANCE for a in here.places for b in there.places
    ):
        return ""
    raise InputError(
        f"{image.path} and its mask {mask.path} are volumes of different "
        f"{_difference(here.places[0], there.places[0])}. {_RESAMPLE}"
    )


def _distance(affine, other, shape):
    """The greatest distance of two corners, in voxels; NaN where these have no size."""
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
    """Such as R, A, S: to which side of the patient each axis points."""
    largest = np.abs(axes).argmax(axis=0)
    return ", ".join(
        ("LR", "PA", "IS")[axis][int(axes[axis, i] > 0)] for i, axis in enumerate(largest)
    )


def _millimetres(values, between=" x "):
    return between.join(f"{value:.4g}" for value in values) + " mm"


def _numbers(shape):
    return " x ".join(map(str, shape))
