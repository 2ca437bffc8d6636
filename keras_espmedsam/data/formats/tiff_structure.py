"""Check the structure of a TIFF file before a library follows it.

A few bytes can promise endless pages (a directory that points to itself) or images of millions of
strips, each of which a library would look up.
"""

import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from keras_espmedsam.errors import InputError

# Entries in a directory, the same limit as in tifffile; valid files have some dozens.
_MOST_ENTRIES = 4096
# Strips or tiles that may be missing from a file that was cut; each is filled separately.
_MOST_MISSING = 10_000


def check_directories(path: Path) -> None:
    """Reject a file whose chain of directories runs in a circle.

    Args:
        path: a TIFF or BigTIFF file.

    Raises:
        InputError: for such a file.

    Source: TIFF 6.0, section 2, and BigTIFF.
    """
    with path.open("rb") as file:
        seen = set()
        for offset in _offsets(file):
            if offset in seen:
                raise InputError(
                    f"{path} is damaged: its list of pages runs in a circle. Get a new copy of it."
                )
            seen.add(offset)


def _offsets(file: BinaryIO) -> Iterator[int]:
    """Yield the offset of each page's directory, as far as the file can be followed."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    pointer = struct.Struct(order + ("Q" if big else "I"))
    number = struct.Struct(order + ("Q" if big else "H"))
    entry = 20 if big else 12
    data = head[8:] if big else head[4:8]
    while len(data) == pointer.size and (offset := pointer.unpack(data)[0]):
        yield offset
        if offset >= 2**63:  # Beyond any file.
            return
        file.seek(offset)
        data = file.read(number.size)
        if len(data) < number.size or (count := number.unpack(data)[0]) > _MOST_ENTRIES:
            return
        file.seek(offset + number.size + count * entry)
        data = file.read(pointer.size)


def page_size(page: Any, path: Path) -> tuple[int, int]:
    """Return the height and width of a page, checked.

    Args:
        page: tifffile's `TiffPage` or `TiffFrame`.
        path: its file.

    Returns:
        Height and width; 0 if the file does not give it.

    Raises:
        InputError: when they are not numbers.
    """
    height, width = page.imagelength, page.imagewidth
    if not all(isinstance(value, int) and value >= 0 for value in (height, width)):
        raise InputError(
            f"{path} is damaged: the size of a page is not a number. Get a new copy of it."
        )
    return height, width


def check_segments(page: Any, path: Path) -> None:
    """Reject a page that promises far more strips or tiles than the file has.

    Args:
        page: tifffile's `TiffPage`.
        path: its file.

    Raises:
        InputError: for such a page.
    """
    height, width = page_size(page, path)
    if page.is_tiled:
        size = (page.tilelength, page.tilewidth)
        areas = [(height, size[0]), (width, size[1])]
    else:
        areas = [(height, page.rowsperstrip or height)]
    try:
        promised = math.prod(-(-whole // max(1, int(part))) for whole, part in areas)
        planes = int(page.samplesperpixel) if page.planarconfig == 2 else 1
        there = len(page.dataoffsets)
    except (TypeError, ValueError):
        raise InputError(
            f"{path} is damaged: its tags for strips or tiles hold no numbers. Get a new copy of "
            "it."
        ) from None
    if promised * planes - there > _MOST_MISSING:
        raise InputError(
            f"{path} is damaged: it promises {promised * planes:,} strips or tiles but has "
            f"{there:,}. Get a new copy of it."
        )
