"""What a file that a client sent is, by its content, and the suffix under which it is stored."""

from pathlib import Path

from keras_espmedsam.data.formats.file_format import read_head
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.serve.problems import without_path

_GZIP = b"\x1f\x8b"
_RASTER = {
    b"\x89PNG": ".png",
    b"\xff\xd8\xff": ".jpg",
    b"GIF8": ".gif",
    b"BM": ".bmp",
    b"RIFF": ".webp",
}
# What viewers save as labels beside images.
_NRRD, _SEGMENTS, _XML = ".nrrd", ".seg.nrrd", ".xml"


def image_suffix(path: Path, max_pixels: int) -> str:
    """Return the suffix for an image, which is checked first.

    Args:
        path: the file, whose name does not count.
        max_pixels: the most pixels that it may have.

    Raises:
        InputError: when it is no image that can be read.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp()) / "part-1"
        >>> Image.new("L", (2, 1)).save(path, "PNG")
        >>> image_suffix(path, 100)
        '.png'
    """
    try:
        inspect_image_file(path, max_pixels)
        return _suffix(path)
    except InputError as error:
        raise InputError(without_path(str(error), path)) from None


def label_suffix(path: Path, max_pixels: int) -> str:
    """Return the suffix for a label: an image, NRRD, or annotations of a pathology viewer (XML).

    Args:
        path: the file, whose name does not count.
        max_pixels: the most pixels that an image of labels may have.

    Raises:
        InputError: when it is none of these.
    """
    head = read_head(path)
    if head.startswith(b"NRRD000"):
        return _SEGMENTS if b"\nSegment0_" in head else _NRRD
    if head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith((b"<?xml", b"<ASAP_Annotations")):
        return _XML
    try:
        inspect_image_file(path, max_pixels, mask=True)
    except InputError:
        raise InputError(
            "Received a label that is no image, NRRD or ASAP XML file, or is damaged; save it in "
            "one of these formats (NIfTI, PNG, TIFF, NRRD), not as raw numbers."
        ) from None
    return _suffix(path)


def _suffix(path):
    head = read_head(path)
    format = file_kind(path, head).format
    if format is None or not format.suffixes:
        raise InputError("Received a file of an unknown type; save it as PNG, TIFF or NIfTI.")
    if format.name == "raster image":
        found = (one for start, one in _RASTER.items() if head.startswith(start))
        return next(found, ".ppm")
    if head.startswith(_GZIP):
        return next((one for one in format.suffixes if one.endswith(".gz")), format.suffixes[0])
    return format.suffixes[0]
