"""What users give as images, targets and weights, in one form for every way in."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.imaging.arrays import ImageLike, as_array
from keras_espmedsam.imaging.host_call import rank
from keras_espmedsam.imaging.intensity import Intensity

Rows = np.ndarray | list
"""What belongs to several images, one after the other."""

# What a source of single samples is told, wherever it is noticed.
BATCH_IT = (
    "expected batches, (batch, height, width, channels) or a list of images: batch a source of "
    "single images first, with .batch(8) or the batch_size of a DataLoader, and give grey images "
    "a channel axis"
)


def image_rows(images: ImageLike) -> tuple[Rows, bool]:
    """One image or several, as something to go through.

    Args:
        images: an image as `to_rgb` takes it; or several: an array or tensor `(batch, height,
            width, channels)`, a list or tuple, or an object array.

    Returns:
        Array or list of images, and whether there were several.

    Raises:
        InputError: for what is neither.

    Example:
        >>> rows, several = image_rows(np.zeros((8, 9), "uint8"))
        >>> len(rows), several
        (1, False)

    Source: ours.
    """
    if isinstance(images, dict):
        raise InputError(
            f"Received a dict of {', '.join(map(str, images))} in place of images; expected an "
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
                f"Received images as an object array of shape {array.shape}, which does not say "
                "the type of its numbers; give a list of images, or an array of uint8, uint16 or "
                "float."
            )
        return list(array.reshape(-1)), array.ndim == 1
    if array.ndim == 4:
        return array, True
    return [array], False


def rows_of(values: Any) -> Rows:
    """Masks, labels or weights of several images, as something to go through."""
    if isinstance(values, list | tuple):
        return list(values)
    array = as_array(values)
    return list(array) if array.dtype == object and array.ndim == 1 else array


def chosen_rows(values: Rows, indices: np.ndarray) -> Rows:
    """Some rows of an array or a list.

    Example:
        >>> chosen_rows(["a", "b", "c"], np.array([2, 0]))
        ['c', 'a']

    Source: ours.
    """
    return [values[i] for i in indices] if isinstance(values, list) else values[indices]


def read_row(converter: Any, rows: Rows, i: int, intensity: Intensity | None = None) -> np.ndarray:
    """One of several images as `converter` reads it; an error says which one it is.

    Without its conversion to floats, unless the converter is one of one's own that has but `read`:
    `converter.convert` makes these channel by channel.

    Source: ours.
    """
    try:
        read = getattr(converter, "read_brightness", converter.read)
        return read(rows[i], intensity)
    except InputError as error:
        if len(rows) == 1:
            raise
        raise InputError(f"images[{i}]: {error}") from error


def height_and_width(image: ImageLike) -> tuple[int, int] | None:
    """The size of an image, without its conversion, or `None` for what is no image."""
    if isinstance(image, Image.Image):
        return image.size[::-1]
    shape = image.shape if hasattr(image, "shape") else as_array(image).shape
    if len(shape) not in (2, 3) or 0 in shape or (len(shape) == 3 and shape[-1] > 4):
        return None
    return tuple(shape[:2])


def stack_canvases(images: Sequence[np.ndarray]) -> np.ndarray:
    """Converted images as one batch.

    Raises:
        InputError: where there are none, or their canvases differ.

    Source: ours.
    """
    if not images:
        raise InputError("Received no images; give at least one.")
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        listed = ", ".join(f"{height} x {width}" for height, width in sizes[:4])
        raise InputError(
            f"Received images that lie on canvases of several sizes ({listed}) in one batch, for "
            "a model without an image_size; use batch_size=1, batches of one size, or segment() "
            "and classify(), which sort them."
        )
    return np.stack(images)


def is_batch(images: Any) -> bool:
    """Whether images, or symbolic tensors of tf.data, are several."""
    if isinstance(images, Image.Image):
        return False
    if isinstance(images, list | tuple):
        return True
    return rank(images) == 4 or getattr(getattr(images, "dtype", None), "kind", "") == "O"


def check_batch(images: Any) -> None:
    """Refuse a single image, where a source has to give batches.

    Raises:
        InputError: for it.

    Source: ours.
    """
    if is_batch(images):
        return
    if isinstance(images, Image.Image):
        received = "a single Pillow image"
    elif hasattr(images, "shape"):
        received = f"images of shape {tuple(images.shape)}"
    else:
        image_rows(images)  # Raises the sentence that fits what is no image at all.
        received = f"images of type {type(images).__name__}"
    raise InputError(f"Received {received}; {BATCH_IT}.")


def named_inputs(x: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """Images, or a dict of them and what belongs to them, as a dict.

    Args:
        x: images, or a dict with `images`.
        names: tuple of str. The keys that are known.

    Raises:
        InputError: for a dict without `images` or with an unknown key.

    Example:
        >>> named_inputs({"image": 0}, ("images", "modalities"))
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: Received x with the unknown key 'image', expected \
images and modalities; did you mean images?

    Source: ours.
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
    """What a source yields, as `(x, y, sample_weight)` with `None` for what is not there.

    Raises:
        InputError: for a tuple of another length.

    Example:
        >>> batch_parts(("x", "y"))
        ('x', 'y', None)

    Source: ours.
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
    """What is given to `fit` as a whole, as rows of equal number; one image is a batch of one.

    Args:
        x: images, or a dict of them and what belongs to them.
        y: targets, a dict of them, or `None`.
        sample_weight: numbers or maps, a dict of them, or `None`.
        names: tuple of str. The keys of `x` that are known.

    Returns:
        `x`, a dict; `y`; `sample_weight`; all of rows, and their number.

    Raises:
        InputError: for no images, and for numbers that differ.

    Source: ours.
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
            f"{listed}; expected as many of each."
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
