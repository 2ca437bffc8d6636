"""What kind of file one is, by its content and, where that says nothing, by its name."""

import dataclasses
from pathlib import Path

from keras_espmedsam.data.formats.file_format import FileFormat, read_head
from keras_espmedsam.data.formats.known_formats import get_format, known_formats
from keras_espmedsam.data.formats.unread import CAMERA_RAW, unread_by_content, unread_by_name
from keras_espmedsam.errors import InputError


@dataclasses.dataclass(frozen=True)
class FileKind:
    """What a file is.

    Args:
        format: that of an image; None where it is of none that is known.
        unread: what it is where it is an image, or several, in a format that is not read, such as
            `"HEIC"`; empty otherwise.

    Source: ours.
    """

    format: FileFormat | None = None
    unread: str = ""


def file_kind(path: Path, head: bytes | None = None) -> FileKind:
    """Tell what a file is; its content decides where it says something, then its name.

    Args:
        path: the file.
        head: its first `HEAD_BYTES` bytes, where they have been read. What cannot be read is known
            by its name alone.

    Raises:
        InputError: when another package's file format fails as it looks at the file.

    Example:
        >>> file_kind(Path("scan.NII.GZ"), b"").format.name
        'NIfTI'
        >>> file_kind(Path("phone.heic"), b"").unread
        'HEIC'
        >>> file_kind(Path("1.2.840.17"), bytes(128) + b"DICM").format.name
        'DICOM'
        >>> file_kind(Path("notes.txt"), b"no image")
        FileKind(format=None, unread='')

    Source: ours.
    """
    if head is None:
        head = read_head(path)
    name = path.name.lower()
    formats = known_formats()
    named = next((one for one in formats if name.endswith(one.suffixes)), None)
    unread = unread_by_name(path)
    if unread == CAMERA_RAW:  # TIFF by its content, whose first image is a thumbnail
        return FileKind(named, "" if named else unread)
    for one in formats:
        if head and _sniffed(one, head, path):
            return FileKind(one)
    if unread and named:  # another package reads what we do not
        return FileKind(named)
    unread = unread_by_content(head) or unread
    if unread:
        return FileKind(unread=unread)
    if named and not named.known_by_name:
        # What is called .tif and is none may still be another kind of image.
        named = get_format("raster")
    return FileKind(named)


def _sniffed(format, head, path):
    try:
        return format.sniff(head, path)
    except Exception as error:
        raise InputError(
            f"The file format {format.name} failed as it looked at {path} "
            f"({type(error).__name__}: {error}); mend or remove the package that added it."
        ) from error
