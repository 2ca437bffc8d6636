"""PNG, JPEG and other everyday picture files, read with Pillow."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from keras_espmedsam.data.picture import Frame, Layout, PictureSource
from keras_espmedsam.errors import InputError

# Only these of Pillow's decoders are ever tried on a file: the fewer, the smaller the attack
# surface. DRIVE's masks are GIF, PH2's pictures BMP and STARE's PPM.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP")


def open_raster(path: Path) -> PictureSource:
    """Read the header of a PNG, JPEG, BMP, GIF, PPM or WebP file.

    Args:
        path: the file; its content decides, not its name.

    Returns:
        Its stored size and a function that decodes it. Of an animation the first picture.

    Raises:
        InputError: when it is no picture of these types.

    Source: ours.
    """
    try:
        with Image.open(path, formats=FORMATS) as image:
            width, height = image.size
    except UnidentifiedImageError as error:
        raise InputError(
            f"{path} is not a picture: its content is of no known type, whatever its name says. "
            "Expected PNG, JPEG, TIFF, BMP, GIF, PPM, WebP, DICOM or NIfTI."
        ) from error
    return PictureSource(height, width, 1, lambda: _decode(path))


def _decode(path: Path) -> Iterator[Frame]:
    with Image.open(path, formats=FORMATS) as image:
        image.load()
        layout = Layout.from_exif(image.getexif().get(ExifTags.Base.Orientation, 1))
        yield Frame(layout.apply(pillow_to_array(image)), layout)


def pillow_to_array(image: Image.Image) -> np.ndarray:
    """The pixels of a Pillow image of any mode, in a type that a segmenter takes.

    1-bit becomes 0 and 255; 16-bit grey stays 16-bit; palettes, CMYK and other colour spaces
    become RGB; alpha is dropped (not blended).

    Args:
        image: the image.

    Returns:
        `(height, width)` or `(height, width, 3)`: uint8, uint16 or float32.

    Example:
        >>> pillow_to_array(Image.new("LA", (3, 2), (9, 0))).tolist()
        [[9, 9, 9], [9, 9, 9]]

    Source: ours.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":  # 16-bit files of some types; 32-bit ones are refused later
        array = np.asarray(image)
        fits = array.size and array.min() >= 0 and array.max() <= np.iinfo(np.uint16).max
        return array.astype(np.uint16) if fits else array
    if image.mode == "F":
        return np.asarray(image)
    mode = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    return np.array(image.convert(mode))
