"""What kind of file one is, by its content and, where that says nothing, by its name."""

import dataclasses
import re
import zlib
from pathlib import Path

from keras_espmedsam.data.formats.unread import unread_by_content, unread_by_name

DICOM, TIFF, NIFTI, RASTER = "DICOM", "TIFF", "NIfTI", "raster"

SUFFIXES = {
    DICOM: (".dcm", ".dicom", ".ima"),
    TIFF: (".tif", ".tiff", ".svs", ".btf", ".tf8", ".lsm"),
    NIFTI: (".nii", ".nii.gz"),
    RASTER: (
        *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".gif", ".webp"),
        *(".ppm", ".pgm", ".pbm", ".pnm"),
    ),
}
"""How the names of files that can be read end, in lower case, by kind."""

IMAGE_SUFFIXES = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)

_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_RASTER_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")
# How a DICOM file without its preamble begins: an element of group 2 or 8, its type or length.
_DICOM_GROUPS, _DICOM_TYPES = (b"\x02\0", b"\x08\0"), (b"UL", b"OB", b"UI", b"CS", b"DA")
_GZIP_MAGIC = b"\x1f\x8b"
HEAD_BYTES = 1024
"""As many of a file's first bytes as its kind can be told by."""


@dataclasses.dataclass(frozen=True)
class FileKind:
    """What a file is.

    Args:
        kind: `DICOM`, `TIFF`, `NIFTI` or `RASTER`; empty where it is none of them.
        unread: what it is where it is an image, or several, in a format that is not read, such as
            `"HEIC"`; empty otherwise.

    Source: ours.
    """

    kind: str = ""
    unread: str = ""


def file_kind(path: Path, head: bytes | None = None) -> FileKind:
    """Tell what a file is; its content decides where it says something, then its name.

    Args:
        path: the file.
        head: its first `HEAD_BYTES` bytes, where they have been read. What cannot be read is known
            by its name alone.

    Example:
        >>> file_kind(Path("scan.NII.GZ"), b"").kind, file_kind(Path("phone.heic"), b"").unread
        ('NIfTI', 'HEIC')
        >>> file_kind(Path("1.2.840.17"), bytes(128) + b"DICM").kind
        'DICOM'
        >>> file_kind(Path("notes.txt"), b"no image")
        FileKind(kind='', unread='')

    Source: ours.
    """
    if head is None:
        head = _head(path)
    name = path.name.lower()
    unread = unread_by_name(path)
    if unread == "camera raw":  # TIFF by its content, whose first image is a thumbnail
        return FileKind(unread=unread)
    kind = _kind_by_content(head)
    if kind:
        return FileKind(kind)
    unread = unread_by_content(head) or unread
    if unread:
        return FileKind(unread=unread)
    for kind, suffixes in SUFFIXES.items():
        if name.endswith(suffixes):
            # What is called .tif and is none may still be another kind of image.
            return FileKind(RASTER if kind == TIFF else kind)
    return FileKind()


def _head(path):
    try:
        if path.is_file():  # a pipe would be waited for
            with path.open("rb") as file:
                return file.read(HEAD_BYTES)
    except OSError:
        pass
    return b""


def _kind_by_content(head):
    # DICOM first: its free preamble may hold a TIFF header, so that TIFF viewers open the file.
    if head[128:132] == b"DICM":
        return DICOM
    if head[:4] in _TIFF_MAGIC:
        return TIFF
    if _is_nifti(head):
        return NIFTI
    if head[:2] == _GZIP_MAGIC:
        try:
            return NIFTI if _is_nifti(zlib.decompressobj(31).decompress(head)) else ""
        except zlib.error:
            return ""
    if _is_raster(head):
        return RASTER
    small = 0 < int.from_bytes(head[4:8], "little") <= 128
    if head[:2] in _DICOM_GROUPS and head[3:4] == b"\0":
        return DICOM if head[4:6] in _DICOM_TYPES or small else ""
    return ""


def starts_like_raster(path: Path) -> bool:
    """Whether a file's first bytes are those of PNG, JPEG, BMP, GIF, PPM or WebP.

    Source: ours.
    """
    return _is_raster(_head(path))


def _is_raster(head):
    if head.startswith(_RASTER_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return True
    # Two letters alone are also how texts begin.
    if re.match(rb"P[1-6f]\s+[#\d]", head):
        return True
    return head[:2] == b"BM" and head[6:10] == b"\0\0\0\0"


def _is_nifti(head):
    return head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0"
