"""Read TIFF files, including 16-bit and multi-page ones, with tifffile."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from keras_espmedsam._startup import require
from keras_espmedsam.data.formats.file_format import FileFormat
from keras_espmedsam.data.formats.image_source import Frame, ImageSource
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.data.formats.tiff_structure import (
    check_directories,
    check_segments,
    page_size,
)
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.arrays import pillow_to_array
from keras_espmedsam.imaging.mask_colours import mask_array, mask_channels
from keras_espmedsam.imaging.stored_values import Meaning

_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR = 0, 1, 2, 6
# Aperio's JPEG 2000 of YCbCr, whose photometric interpretation says RGB as often as not.
_APERIO_YCBCR = 33003


class TiffFormat(FileFormat):
    """TIFF and BigTIFF."""

    name = "TIFF"
    suffixes = (".tif", ".tiff", ".svs", ".btf", ".tf8", ".lsm")
    signatures = ((0, b"II*\0"), (0, b"MM\0*"), (0, b"II+\0"), (0, b"MM\0+"))
    known_by_name = False
    loggers = ("tifffile", "PIL")

    def open(self, path: Path) -> ImageSource:
        """Read the header of a TIFF file.

        Every page with the size of the first page is an image; other pages are previews, such as
        the reduced levels of a whole-slide file, and are skipped.

        Args:
            path: the file.

        Returns:
            The size and number of its pages, and a function that decodes them.

        Raises:
            InputError: when tifffile is not installed, or the list of pages is damaged.
        """
        tifffile = require("tifffile", "Reading TIFF files")
        check_directories(path)
        with tifffile.TiffFile(path) as tiff:
            pages = _pages(tiff, path)
            first = tiff.pages[pages[0]]
            return ImageSource(
                *page_size(first, path),
                len(pages),
                lambda: _decode(path),
                labels=lambda: _decode(path, labels=True),
                layout=_layout(first),
            )


def _layout(page: Any) -> Layout:
    tag = page.tags.get("Orientation")
    value = tag.value if tag else 1
    return Layout.from_exif(value if isinstance(value, int) else 1)


def _pages(tiff: Any, path: Path) -> list[int]:
    size = page_size(tiff.pages[0], path)
    return [
        number
        for number, page in enumerate(tiff.pages)
        if page_size(page, path) == size and (number == 0 or not page.is_reduced)
    ]


def _decode(path: Path, labels: bool = False) -> Iterator[Frame]:
    tifffile = require("tifffile", "Reading TIFF files")
    with tifffile.TiffFile(path) as tiff:
        for number in _pages(tiff, path):
            page = tiff.pages[number]
            check_segments(page, path)
            layout = _layout(page)
            plain = page.photometric in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
            # Each library supports compressions and colour spaces that the other lacks.
            ways = [
                functools.partial(_with_tifffile, page, layout, labels),
                functools.partial(_with_pillow, path, number, labels),
            ]
            array, meaning = _first_that_works(ways if plain else ways[::-1], page, path)
            if labels and meaning.inverted:
                array = _whites(array, meaning) - array
            yield Frame(array, layout, meaning=meaning)


def _first_that_works(ways, page, path):
    errors = []
    for way in ways:
        try:
            return way()
        except InputError:
            raise
        except Exception as error:
            errors.append(error)
    if any("imagecodecs" in str(error) for error in errors):
        raise InputError(
            f"{path} is compressed as {getattr(page.compression, 'name', page.compression)}, which "
            'needs imagecodecs; install it with: pip install "keras-espmedsam[medical]"'
        )
    raise errors[0]


def _with_tifffile(page: Any, layout: Layout, labels: bool) -> tuple[np.ndarray, Meaning]:
    """Read a grey or RGB page, turned upright."""
    path = page.parent.filehandle.path
    if page.axes not in ("YX", "YXS", "SYX"):
        raise ValueError(f"pages with the axes {page.axes}")
    _check_channels(page.shape[page.axes.index("S")] if "S" in page.axes else 1, path)
    array = page.asarray()
    if page.axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    if array.ndim == 3:
        channels = array.shape[-1]
        if not labels:
            array = array[..., 0] if channels < 3 else array[..., :3]
    if page.compression == _APERIO_YCBCR and array.shape[2:] == (3,):
        array = np.asarray(Image.fromarray(array, "YCbCr").convert("RGB"))
    elif page.photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _YCBCR):
        raise ValueError(f"colours of the kind {page.photometric}")
    if labels and array.ndim == 3:
        array = mask_channels(array)
    if array.dtype == bool:
        array = array.astype(np.uint8) * 255
    bits = page.bitspersample
    some = array.dtype.kind == "u" and 1 < bits < 8 * array.dtype.itemsize
    signed = array.dtype == np.int8
    meaning = Meaning(
        bits=bits if some or signed else None,
        whole=(0, 2**bits - 1) if some else None,
        inverted=page.photometric == _WHITE_IS_ZERO,
    )
    return layout.apply(array), meaning


def _check_channels(channels, path):
    """Reject too many channels before decoding, because thousands would not fit in memory."""
    if channels > 4:
        raise InputError(
            f"{path} holds {channels} channels; expected 1 (grey) or 3 (RGB), with or without "
            "alpha. Save the channels that you want to segment as an image."
        )


def _with_pillow(path: Path, number: int, labels: bool) -> tuple[np.ndarray, Meaning]:
    """Read a page with Pillow, which turns it upright itself."""
    quiet_libraries.silence_libtiff()
    # Given a path, Pillow maps the file into memory and scrambles rotated pages.
    with path.open("rb") as file, Image.open(file, formats=("TIFF",)) as image:
        image.seek(number)
        tags: Any = image.tag_v2  # type: ignore[attr-defined]  # Only a TIFF image has it.
        bits, photometric = tags.get(258, (1,))[0], tags.get(262)
        array = mask_array(image) if labels else pillow_to_array(image)
    # Pillow inverts WhiteIsZero only for 8 bits or fewer.
    deep = array.dtype != np.uint8
    some = array.dtype == np.uint16 and 8 < bits < 16
    return array, Meaning(
        bits=bits if some else None,
        whole=(0, 2**bits - 1) if some else None,
        inverted=deep and photometric == _WHITE_IS_ZERO,
    )


def _whites(array, meaning):
    """Return the highest value of an inverted image, to turn its values around."""
    if meaning.whole is not None:
        return array.dtype.type(meaning.whole[1])
    return array.dtype.type(np.iinfo(array.dtype).max if array.dtype.kind in "iu" else 1)
