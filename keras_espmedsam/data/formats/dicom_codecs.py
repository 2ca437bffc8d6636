"""Decode the compressed pixels of DICOM files.

pydicom would prefer gdcm, which crashes the process on some valid files (such as JPEG Lossless
with 7 of 8 bits stored), is not used for 12-bit JPEG, and returns signed JPEG 2000 and JPEG-LS in
a form that pydicom 3.0 fails on.
"""

import functools
import re
import struct
import threading
from typing import Any

from keras_espmedsam._startup import require

_NAME = "keras-espmedsam"
_JPEG = (
    "1.2.840.10008.1.2.4.51",  # Extended, 8 or 12 bits
    "1.2.840.10008.1.2.4.57",  # Lossless
    "1.2.840.10008.1.2.4.70",  # Lossless, first-order prediction
)
_JPEG_LS = ("1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81")
_JPEG_2000 = (
    *("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"),
    *("1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.202", "1.2.840.10008.1.2.4.203"),
)
_registering = threading.Lock()

# pydicom looks up this name and `is_available` in the module of a decoder.
DECODER_DEPENDENCIES = {uid: ("imagecodecs",) for uid in (*_JPEG, *_JPEG_LS, *_JPEG_2000)}


def is_available(uid: str) -> bool:
    """Tell pydicom whether the library that decodes a transfer syntax is installed."""
    return uid in DECODER_DEPENDENCIES and _imagecodecs() is not None


def best_decoder(decoder: Any) -> str:
    """Choose the decoder for a transfer syntax.

    Args:
        decoder: pydicom's `Decoder` for the transfer syntax.

    Returns:
        The name of one of its `available_plugins`; empty if it needs none or none is installed.
    """
    if decoder.UID in DECODER_DEPENDENCIES and _NAME not in decoder.available_plugins:
        with _registering:
            if _NAME not in decoder.available_plugins and is_available(decoder.UID):
                decoder.add_plugin(_NAME, (__name__, "decode_frame"))
    preferred = (_NAME, "pydicom", "pylibjpeg", "pyjpegls", "pillow")  # Never gdcm, see above.
    return next((name for name in preferred if name in decoder.available_plugins), "")


def decode_frame(encoded: bytes, runner: Any) -> bytearray:
    """Decode one frame for pydicom.

    Args:
        encoded: the compressed frame.
        runner: pydicom's `DecodeRunner`; its options are set to describe the result.

    Returns:
        The values, with a pixel's channels side by side.
    """
    _check_codestream(encoded, runner.rows, runner.columns)
    imagecodecs = _imagecodecs()
    syntax = str(runner.transfer_syntax)
    if syntax in _JPEG_LS:
        array = imagecodecs.jpegls_decode(encoded)
    elif syntax in _JPEG_2000:
        array = imagecodecs.jpeg2k_decode(encoded)
        if runner.photometric_interpretation in ("YBR_ICT", "YBR_RCT"):
            # These are how the codec stores RGB, and it has already converted back.
            runner.set_option("photometric_interpretation", "RGB")
    elif runner.samples_per_pixel == 1:
        array = imagecodecs.jpeg8_decode(encoded)
    else:
        # The same value twice, for no conversion: the header, not the codec, gives the colours.
        array = imagecodecs.jpeg8_decode(encoded, colorspace="RGB", outcolorspace="RGB")
    shape: tuple[int, ...] = (runner.rows, runner.columns)
    if runner.samples_per_pixel > 1:
        shape = (*shape, runner.samples_per_pixel)
        runner.set_option("planar_configuration", 0)
    if array.shape != shape:
        raise ValueError(f"The frame has shape {array.shape}, the file {shape}.")
    runner.set_option("bits_allocated", 8 * array.itemsize)
    return bytearray(array.tobytes())


def _check_codestream(encoded, rows, columns):
    """Check the size in a frame's own header before memory for it is allocated."""
    size = codestream_size(encoded)
    if size is not None and size != (rows, columns):
        raise ValueError(f"The frame has size {size}, the file {(rows, columns)}.")


def codestream_size(encoded: bytes) -> tuple[int, int] | None:
    """Read height and width from the header of a JPEG, JPEG-LS or JPEG 2000 image.

    Args:
        encoded: the image.

    Returns:
        Height and width; None if they are not found.

    Example:
        >>> codestream_size(bytes.fromhex("ffd8 ffc0 0011 08 0003 0005"))
        (3, 5)

    Source: ITU-T T.81, B.2; T.87, C.2; T.800, A.5.1.
    """
    start = encoded.find(b"\xff\x4f\xff\x51")  # Inside boxes, or bare.
    if start >= 0 and len(encoded) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">4I", encoded, start + 8)
        return bottom - top, right - left
    # The first frame header: markers C0 to CF except those that are no frame headers.
    found = re.search(rb"\xff[\xc0-\xc3\xc5-\xc7\xc9-\xcb\xcd-\xcf\xf7]\0.", encoded, re.DOTALL)
    if found is None or len(encoded) < found.end() + 5:
        return None
    return struct.unpack_from(">HH", encoded, found.end() + 1)


@functools.cache
def _imagecodecs():
    try:
        return require("imagecodecs", "Decoding compressed DICOM files")
    except Exception:  # Not installed, or not for this machine.
        return None
