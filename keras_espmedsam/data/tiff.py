"""TIFF files, 16-bit and multi-page ones included, read with tifffile."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from keras_espmedsam._extras import require
from keras_espmedsam.data.picture import Frame, Layout, PictureSource
from keras_espmedsam.data.raster import pillow_to_array
from keras_espmedsam.errors import InputError


def open_tiff(path: Path) -> PictureSource:
    """Read the header of a TIFF file.

    Every page of the first page's size is a picture; others are previews, such as the reduced
    levels of a whole-slide file, and are left out.

    Args:
        path: the file.

    Returns:
        The size of its pages, their number and a function that decodes them.

    Raises:
        InputError: when tifffile is not installed.

    Source: ours.
    """
    tifffile = require("tifffile", "Reading TIFF files")
    with tifffile.TiffFile(path) as tiff:
        pages = _pages(tiff)
        first = tiff.pages[pages[0]]
        return PictureSource(first.imagelength, first.imagewidth, len(pages), lambda: _decode(path))


def _pages(tiff) -> list[int]:
    first = tiff.pages[0]
    size = (first.imagelength, first.imagewidth)
    return [
        number
        for number, page in enumerate(tiff.pages)
        if (page.imagelength, page.imagewidth) == size and (number == 0 or not page.is_reduced)
    ]


def _decode(path: Path) -> Iterator[Frame]:
    tifffile = require("tifffile", "Reading TIFF files")
    with tifffile.TiffFile(path) as tiff:
        for number in _pages(tiff):
            page = tiff.pages[number]
            tag = page.tags.get("Orientation")
            layout = Layout.from_exif(int(tag.value) if tag else 1)
            array = _plain_page(page)
            # Pillow turns TIFF pages upright itself.
            upright = _page_with_pillow(path, number) if array is None else layout.apply(array)
            yield Frame(upright, layout)


def _plain_page(page) -> np.ndarray | None:
    """A grey or RGB page as stored; None where Pillow has to do it (palettes, CMYK, LZW...)."""
    grey = page.photometric in (0, 1)  # white is zero, black is zero
    if not (grey or page.photometric == 2) or page.bitspersample not in (1, 8, 16, 32, 64):
        return None
    if page.axes not in ("YX", "YXS", "SYX"):
        return None
    try:
        array = page.asarray()
    except Exception:  # tifffile without imagecodecs lacks LZW and JPEG; Pillow has them
        return None
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3:
        channels = array.shape[-1]
        if channels > 4:
            raise InputError(
                f"{page.parent.filehandle.path} holds {channels} channels; expected 1 (grey) or 3 "
                "(RGB), with or without alpha. Save the channels to be segmented as a picture."
            )
        array = array[..., 0] if channels < 3 else array[..., :3]
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    if page.photometric == 0:
        white = np.iinfo(array.dtype).max if array.dtype.kind == "u" else 1
        array = (white - array).astype(array.dtype)
    return array


def _page_with_pillow(path: Path, number: int) -> np.ndarray:
    with Image.open(path, formats=("TIFF",)) as image:
        image.seek(number)
        return pillow_to_array(image)
