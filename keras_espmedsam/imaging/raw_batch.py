"""Normalise the images, targets and weights that users pass in, for all entry points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.arrays import ImageLike, as_array
from keras_espmedsam.imaging.host_call import rank
from keras_espmedsam.imaging.intensity import Intensity

Rows = np.ndarray | list
"""Values for several images, one entry per image."""

# The message for a data source that yields single samples.
BATCH_IT = (
    "expected batches, (batch, height, width, channels) or a list of images: batch a source of "
    "single images first, with .batch(8) or the batch_size of a DataLoader, and give grey images "
    "a channel axis"
)


def image_rows(images: ImageLike) -> tuple[Rows, bool]:
    """Convert one or several images to a sequence of images.

    Args:
        images: an image in any form that `to_rgb` accepts; or several: an array or tensor `(batch,
            height, width, channels)`, a list or tuple, or an object array.

    Returns:
        Array or list of images, and whether several were given.

    Raises:
        InputError: for anything else.

    Example:
        >>> rows, several = image_rows(np.zeros((8, 9), "uint8"))
        >>> len(rows), several
        (1, False)
    """
    if isinstance(images, dict):
        raise InputError(
            f"Received a dict of {', '.join(map(str, images))} instead of images; expected an "
            "image, a batch or a list of images."
        )
    if isinstance(images, list | tuple):
        return list(images), True
    if isinstance(images, Image.Image):
        return [images], False
    array = as_array(images)
    if array.dtype == object:
        if array.ndim > 1:
            raise InputError(
                f"Received images as an object array of shape {array.shape}, which has no numeric "
                "type; give a list of images, or an array of uint8, uint16 or float."
            )
        return list(array.reshape(-1)), array.ndim == 1
    if array.ndim == 4:
        return array, True
    return [array], False


def rows_of(values: Any) -> Rows:
    """Convert masks, labels or weights of several images to a sequence."""
    if isinstance(values, list | tuple):
        return list(values)
    array = as_array(values)
    return list(array) if array.dtype == object and array.ndim == 1 else array


def chosen_rows(values: Rows, indices: np.ndarray) -> Rows:
    """Select rows of an array or a list.

    Example:
        >>> chosen_rows(["a", "b", "c"], np.array([2, 0]))
        ['c', 'a']
    """
    return [values[i] for i in indices] if isinstance(values, list) else values[indices]


def read_row(converter: Any, rows: Rows, i: int, intensity: Intensity | None = None) -> np.ndarray:
    """Read one of several images with `converter`; an error names its index.

    The result is not converted to floats, because `converter.convert` does so channel by channel;
    only a custom converter that has just `read` may return floats.
    """
    try:
        read = getattr(converter, "read_brightness", converter.read)
        return read(rows[i], intensity)
    except InputError as error:
        if len(rows) == 1:
            raise
        raise InputError(f"images[{i}]: {error}") from error


def height_and_width(image: ImageLike) -> tuple[int, int] | None:
    """Return the size of an image without converting it, or `None` if it is not an image."""
    if isinstance(image, Image.Image):
        return image.size[::-1]
    shape = image.shape if hasattr(image, "shape") else as_array(image).shape
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[-1] > 4):
        return None
    return tuple(shape[:2])


def stack_canvases(images: Sequence[np.ndarray]) -> np.ndarray:
    """Stack converted images to one batch.

    Raises:
        InputError: when there are none, or their canvases differ in size.
    """
    if not images:
        raise InputError("Received no images; give at least one.")
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width in sizes[:4])
        raise InputError(
            f"Received images with canvases of several sizes ({listed}) in one batch, for a model "
            "without an image_size; use batch_size=1, batches of one size, or segment() and "
            "classify(), which sort them."
        )
    return np.stack(images)


def is_batch(images: Any) -> bool:
    """Return whether the argument holds several images; it may be a symbolic tensor of tf.data."""
    if isinstance(images, Image.Image):
        return False
    if isinstance(images, list | tuple):
        return True
    return rank(images) == 4 or getattr(getattr(images, "dtype", None), "kind", "") == "O"


def check_batch(images: Any) -> None:
    """Reject a single image from a source that must yield batches.

    Raises:
        InputError: for a single image, or no image at all.
    """
    if is_batch(images):
        return
    if isinstance(images, Image.Image):
        received = "a single Pillow image"
    elif hasattr(images, "shape"):
        received = f"images of shape {tuple(images.shape)}"
    else:
        image_rows(images)  # Raises the right error if it is not an image at all.
        received = f"images of type {type(images).__name__}"
    raise InputError(f"Received {received}; {BATCH_IT}.")


def named_inputs(x: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Convert images, or a dict of images and further inputs, to a dict.

    Args:
        x: images, or a dict with `images`.
        names: tuple of str. The valid keys.

    Raises:
        InputError: for a dict without `images` or with an unknown key.

    Example:
        >>> named_inputs({"image": 0}, ("images", "modalities"))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received x with the unknown key 'image', expected \
images and modalities; did you mean images?
    """
    if isinstance(x, list | tuple) and x and isinstance(x[0], dict):
        raise InputError(
            f"Received a {type(x).__name__} of dicts; expected one dict of all images: collate the "
            'samples to {"images": [...], "modalities": [...]}.'
        )
    if not isinstance(x, dict):
        return {"images": x}
    for name in x:
        if name not in names:
            raise InputError(
                f"Received x with the unknown key {name!r}, expected {' and '.join(names)}"
                + did_you_mean(name, names)
            )
    if x.get("images") is None:
        raise InputError(f"Received x without images; give {{{_shown(names)}}}.")
    return dict(x)


def batch_parts(batch: Any) -> tuple[Any, Any, Any]:
    """Unpack a batch of a data source to `(x, y, sample_weight)`, with `None` for missing parts.

    Raises:
        InputError: for a tuple of another length.

    Example:
        >>> batch_parts(("x", "y"))
        ('x', 'y', None)
    """
    if not isinstance(batch, list | tuple):
        return batch, None, None
    if not 1 <= len(batch) <= 3:
        raise InputError(
            f"Received a {type(batch).__name__} of {len(batch)} from the data source; expected "
            "(images,), (images, targets) or (images, targets, sample_weight), where images may "
            "be a list."
        )
    return (*batch, None, None)[:3]


def array_rows(
    x: Any, y: Any, sample_weight: Any, names: tuple[str, ...]
) -> tuple[dict[str, Any], Any, Any, int]:
    """Convert the arrays given to `fit` to rows, one per image; one image is a batch of one.

    Args:
        x: images, or a dict of images and further inputs.
        y: targets, a dict of them, or `None`.
        sample_weight: numbers or maps, a dict of them, or `None`.
        names: tuple of str. The valid keys of `x`.

    Returns:
        `x`, a dict; `y`; `sample_weight`; and the number of rows.

    Raises:
        InputError: when there are no images, or the lengths differ.
    """
    x = named_inputs(x, names)
    images, several = image_rows(x.pop("images"))
    count = len(images)
    if not count:
        raise InputError("Received no images; give at least one.")
    size = None if several else _size_of_one(images[0])

    def rows(values):
        if values is None:
            return None
        if isinstance(values, dict):
            return {name: rows(value) for name, value in values.items()}
        if isinstance(values, str | bytes | Image.Image):
            return [values] * (1 if isinstance(values, Image.Image) else count)
        if not isinstance(values, list | tuple):
            values = as_array(values)
            if values.ndim == 0:
                return [values.item()] * count
        if size is not None:
            shape = as_array(values).shape
            if shape[:2] == size or len(shape) == 0 or shape[0] != 1:
                return [values]
        return rows_of(values)

    x = {"images": images, **{name: rows(value) for name, value in x.items()}}
    y, sample_weight = rows(y), rows(sample_weight)
    numbers = {}
    for name, value in {**x, "y": y, "sample_weight": sample_weight}.items():
        for part in value.values() if isinstance(value, dict) else [value]:
            if part is not None and len(part) != count:
                numbers[name] = len(part)
    if numbers:
        listed = ", ".join(f"{number} {name}" for name, number in numbers.items())
        raise InputError(
            f"Received arrays of lengths {sorted({count, *numbers.values()})}: {count} images and "
            f"{listed}; expected the same number of each."
        )
    return {k: v for k, v in x.items() if v is not None}, y, sample_weight, count


def _size_of_one(image):
    size = height_and_width(image)
    if size is None:
        raise InputError(
            f"Received images of shape {np.shape(image)}; expected (batch, height, width, "
            "channels) with 1 to 4 channels, one image, or a list of images. Move channels that "
            "are in front to the end; give a batch of grey images a channel axis: "
            "images[..., None]."
        )
    return size


def _shown(names):
    return ", ".join(f'"{name}": ...' for name in names)
