"""Whatever holds an image in memory, as a NumPy array."""

import os
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from keras_espmedsam.errors import InputError

# Arrays, nested lists, Pillow images, and tensors of libraries that are not imported for their
# types: no type holds all of them.
ImageLike = Any
"""An image as `as_array` takes it; where several may be given, a batch or a list of them."""


def as_array(image: ImageLike) -> np.ndarray:
    """An image, a mask or a batch of either as a NumPy array, its values as they are.

    Args:
        image: NumPy array, nested list of numbers, Pillow image of any mode (see
            `pillow_to_array`), or tensor of PyTorch (on any device, with or without a gradient),
            TensorFlow or JAX. The small floats of these (bfloat16, float8) become float32.

    Returns:
        NumPy array.

    Raises:
        InputError: for the path of a file, lists that are no rectangle, and what holds no values.

    Example:
        >>> as_array(Image.new("CMYK", (3, 2))).shape
        (2, 3, 3)

    Source: ours.
    """
    if isinstance(image, Image.Image):
        return pillow_to_array(image)
    if isinstance(image, str | bytes | os.PathLike):
        raise InputError(
            f"Received {os.fspath(image)!r} in place of an image; read the file first, with "
            "keras_espmedsam.data.read_image."
        )
    if isinstance(image, np.ma.MaskedArray) and image.mask.any():
        raise InputError(
            "Received a masked array with masked values; expected a value for every pixel. Say "
            "what they are by image.filled(value), such as 0 for black."
        )
    try:
        if hasattr(image, "detach"):  # PyTorch, which is not imported for this
            image = image.detach().cpu().resolve_conj().resolve_neg()
            if image.is_floating_point() and image.dtype.itemsize < 4:
                image = image.float()  # NumPy has no bfloat16
        array = np.asarray(image)  # of a subclass too, whose indexing may be its own
        if array.dtype == object and not array.ndim and not isinstance(array.item(), str | bytes):
            raise TypeError("wrapped as it is: None, a generator, a dict")
    # Ragged lists, symbolic tensors, tensors without data: each library has an error of its own.
    except Exception as error:
        raise InputError(
            f"Received an object of the type {_type_name(image)} that is no array of numbers; "
            "expected a NumPy array, a Pillow image or a dense tensor, of one image each."
        ) from error
    # The types that NumPy does not know itself.
    small_float = array.dtype.num >= 256 and array.dtype.name.startswith(("bfloat", "float"))
    return array.astype("float32") if small_float else array


def _type_name(image):
    kind = type(image)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"


def pillow_to_array(image: Image.Image) -> np.ndarray:
    """The pixels of a Pillow image of any mode, in a type that a segmenter takes.

    1-bit becomes 0 and 255; 16-bit grey stays 16-bit; palettes, CMYK and other colour spaces
    become RGB; alpha is dropped (not blended).

    Args:
        image: `PIL.Image.Image`.

    Returns:
        `(height, width)` or `(height, width, 3)`: uint8, uint16 or float32; int32 for 32-bit
        values that do not fit 16 bits.

    Example:
        >>> pillow_to_array(Image.new("LA", (3, 2), (9, 0))).tolist()
        [[9, 9, 9], [9, 9, 9]]

    Source: ours.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":  # 16-bit files of some types
        array = np.asarray(image)
        fits = array.size and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max
        return array.astype(np.uint16) if fits else array
    if image.mode == "F":
        return np.asarray(image)
    if image.mode == "LAB":
        # Pillow's own conversion takes the three values for red, green and blue.
        spaces = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.array(ImageCms.profileToProfile(image, *spaces, outputMode="RGB"))
    if image.mode in ("La", "RGBa"):  # multiplied by alpha
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    # Pillow copies an image that is of that mode already.
    return np.array(image if image.mode == mode else image.convert(mode))
