"""Recognise the format of a file by its content, or else by its name."""

import dataclasses
from pathlib import Path

from keras_espmedsam.data.formats.file_format import FileFormat, read_head
from keras_espmedsam.data.formats.known_formats import get_format, known_formats
from keras_espmedsam.data.formats.unread import CAMERA_RAW, unread_by_content, unread_by_name
from keras_espmedsam.errors import InputError


@dataclasses.dataclass(frozen=True)
class FileKind:
    """The format of a file.

    Args:
        format: its format; None if it is not one of the supported image formats.
        unread: the name of an image format that is not supported, such as `"HEIC"`; empty
            otherwise.
    """

    format: FileFormat | None = None
    unread: str = ""


def file_kind(path: Path, head: bytes | None = None) -> FileKind:
    """Recognise the format of a file by its content, or else by its name.

    Args:
        path: the file.
        head: its first `HEAD_BYTES` bytes, if they were read already. A file that cannot be read
            is recognised by its name.

    Raises:
        InputError: when the file format of another package fails while it looks at the file.

    Example:
        >>> file_kind(Path("scan.NII.GZ"), b"").format.name
        'NIfTI'
        >>> file_kind(Path("phone.heic"), b"").unread
        'HEIC'
        >>> file_kind(Path("1.2.840.17"), bytes(128) + b"DICM").format.name
        'DICOM'
        >>> file_kind(Path("notes.txt"), b"no image")
        FileKind(format=None, unread='')
    """
    if head is None:
        head = read_head(path)
    name = path.name.lower()
    formats = known_formats()
    named = next((one for one in formats if name.endswith(one.suffixes)), None)
    unread = unread_by_name(path)
    if unread == CAMERA_RAW:  # Its content looks like TIFF, but the first image is a thumbnail.
        return FileKind(named, "" if named else unread)
    for one in formats:
        if head and _sniffed(one, head, path):
            return FileKind(one)
    if unread and named:  # Another package reads this format.
        return FileKind(named)
    unread = unread_by_content(head) or unread
    if unread:
        return FileKind(unread=unread)
    if named and not named.known_by_name:
        # A file named .tif that is not TIFF may still be another kind of image.
        named = get_format("raster")
    return FileKind(named)


def _sniffed(format, head, path):
    try:
        return format.sniff(head, path)
    except Exception as error:
        raise InputError(
            f"The file format {format.name} failed while looking at {path} "
            f"({type(error).__name__}: {error}); fix or remove the package that added it."
        ) from error
