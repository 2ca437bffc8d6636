"""Nothing that a library says of a damaged file reaches the terminal, whoever prints it."""

import ctypes
import io
import logging
import struct
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import read_images
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.errors import InputError


def damaged_tiff():
    """One of which libtiff says something that it prints by itself."""
    content = io.BytesIO()
    grey = np.arange(96, dtype=np.uint8).reshape(8, 12)
    Image.fromarray(grey).convert("CMYK").save(content, "TIFF", compression="tiff_lzw")
    content = bytearray(content.getvalue())
    (at,) = struct.unpack_from("<I", content, 4)
    (count,) = struct.unpack_from("<H", content, at)
    for i in range(count):
        if struct.unpack_from("<H", content, at + 2 + 12 * i)[0] == 279:  # StripByteCounts
            struct.pack_into("<I", content, at + 2 + 12 * i + 8, 10**6)
    return bytes(content)


def read_with_pillow(content):
    with pytest.raises(Exception), Image.open(io.BytesIO(content)) as image:  # noqa: B017
        image.load()


def test_libtiff_prints_nothing(tmp_path, capfd):
    pytest.importorskip("tifffile", reason="needs the extra medical")
    path = tmp_path / "scan.tif"
    path.write_bytes(damaged_tiff())
    with pytest.raises(InputError, match="damaged"):
        list(read_images(path))
    assert capfd.readouterr() == ("", "")


def test_libtiff_prints_again_afterwards(capfd):
    if not hasattr(ctypes.CDLL(Image.core.__file__), "TIFFSetErrorHandler"):
        pytest.skip("this build of Pillow does not show libtiff's functions")
    content = damaged_tiff()
    with quiet_libraries:
        with quiet_libraries:
            quiet_libraries.silence_libtiff()
        read_with_pillow(content)
    assert capfd.readouterr().err == ""
    read_with_pillow(content)
    assert "TIFF" in capfd.readouterr().err


def test_all_is_as_it_was():
    limit, level = Image.MAX_IMAGE_PIXELS, logging.getLogger("pydicom").level
    filters = list(warnings.filters)
    with quiet_libraries:
        assert Image.MAX_IMAGE_PIXELS is None
        assert logging.getLogger("pydicom").level > logging.CRITICAL
    assert (Image.MAX_IMAGE_PIXELS, logging.getLogger("pydicom").level) == (limit, level)
    assert warnings.filters == filters
