"""Convert images in memory, of any library, to NumPy arrays."""

import os
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.bands import BAND_VALUES, bands

# Any, because it covers arrays, nested lists, Pillow images, and tensors of libraries that are not
# imported here.
ImageLike = Any
"""Anything that `as_array` accepts as an image; or, for several images, a batch or a list."""


def as_array(image: ImageLike) -> np.ndarray:
    """Convert an image, a mask or a batch of either to a NumPy array with the same values.

    Args:
        image: NumPy array, nested list of numbers, Pillow image of any mode (see
            `pillow_to_array`), or tensor of PyTorch (on any device, with or without a gradient),
            TensorFlow or JAX. Small floats (bfloat16, float8) become float32.

    Returns:
        NumPy array.

    Raises:
        InputError: for the path of a file, ragged lists, and objects without values.

    Example:
        >>> as_array(Image.new("CMYK", (3, 2))).shape
        (2, 3, 3)
    """
    if isinstance(image, Image.Image):
        return pillow_to_array(image)
    if isinstance(image, str | bytes | os.PathLike):
        raise InputError(
            f"Received the path {os.fspath(image)!r} instead of an image; read the file first, "
            "with keras_espmedsam.data.read_image."
        )
    if isinstance(image, np.ma.MaskedArray) and image.mask.any():
        raise InputError(
            "Received a masked array with masked values; expected a value for every pixel. Fill "
            "them with image.filled(value), such as 0 for black."
        )
    try:
        if hasattr(image, "detach"):  # PyTorch, which is not imported here.
            image = image.detach().cpu().resolve_conj().resolve_neg()
            if image.is_floating_point() and image.dtype.itemsize < 4:
                image = image.float()  # NumPy has no bfloat16.
        array = np.asarray(image)  # Also for a subclass, which may index differently.
        if array.dtype == object and not array.ndim and not isinstance(array.item(), str | bytes):
            raise TypeError("wrapped as it is: None, a generator, a dict")
    # Ragged lists, symbolic tensors, tensors without data: each library raises its own error.
    except Exception as error:
        raise InputError(
            f"Received an object of the type {_type_name(image)} that is not an array of numbers; "
            "expected a NumPy array, a Pillow image or a dense tensor, of one image each."
        ) from error
    # Types that NumPy itself does not have.
    small_float = array.dtype.num >= 256 and array.dtype.name.startswith(("bfloat", "float"))
    return array.astype("float32") if small_float else array


def _type_name(image):
    kind = type(image)
    library = kind.__module__.partition(".")[0]
    return kind.__name__ if library == "builtins" else f"{library}.{kind.__name__}"


def pillow_to_array(image: Image.Image) -> np.ndarray:
    """Return the pixels of a Pillow image of any mode, in a type that a segmenter takes.

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
    """
    if image.mode.startswith("I;16"):
        return pixels(image).astype(np.uint16, copy=False)
    if image.mode == "I":  # Pillow opens some 16-bit files in this mode.
        array = pixels(image)
        fits = array.size and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max
        return array.astype(np.uint16) if fits else array
    if image.mode == "F":
        return pixels(image)
    if image.mode == "LAB":
        # Pillow's own conversion treats the three values as red, green and blue.
        spaces = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return np.array(ImageCms.profileToProfile(image, *spaces, outputMode="RGB"))
    if image.mode in ("La", "RGBa"):  # Premultiplied by alpha.
        image = image.convert({"La": "LA", "RGBa": "RGBA"}[image.mode])
    mode = "L" if image.mode in ("1", "L", "LA") else "RGB"
    return pixels(image, mode)


def pixels(image: Image.Image, mode: str | None = None) -> np.ndarray:
    """Return the pixels of a Pillow image, without the two copies that Pillow makes.

    Args:
        image: `PIL.Image.Image`.
        mode: the mode to convert it to first; None for no conversion.

    Returns:
        New array `(height, width)` or `(height, width, channels)`.

    Example:
        >>> pixels(Image.new("RGB", (3, 2), (9, 9, 9)), "L").tolist()
        [[9, 9, 9], [9, 9, 9]]
    """
    mode = mode or image.mode
    height, width = image.height, image.width
    out = None
    if height * width > BAND_VALUES:
        for part in bands(height, width):
            rows = _pixels(image.crop((0, part.start, width, part.stop)), mode)
            if out is None:
                out = np.empty((height, *rows.shape[1:]), rows.dtype)
            out[part] = rows
    return _pixels(image, mode) if out is None else out


def _pixels(image, mode):
    # Pillow's convert copies an image that already has the mode.
    return np.array(image if image.mode == mode else image.convert(mode))
