"""What kind of file one is, by its content and, where that says nothing, by its name."""

import dataclasses
import re
import zlib
from pathlib import Path

from keras_espmedsam.data.file_names import normal_name

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

_UNREAD_SUFFIXES = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".avif": "AVIF",
    **dict.fromkeys((".jp2", ".j2k", ".j2c", ".jpf", ".jpx", ".jpc"), "JPEG 2000"),
    **dict.fromkeys((".jxl",), "JPEG XL"),
    **dict.fromkeys((".nrrd", ".nhdr"), "NRRD"),
    **dict.fromkeys((".mha", ".mhd"), "MetaImage"),
    **dict.fromkeys((".mgh", ".mgz"), "FreeSurfer"),
    **dict.fromkeys((".img", ".hdr"), "Analyze or NIfTI as a pair of .hdr and .img"),
    **dict.fromkeys((".czi", ".nd2", ".lif", ".oib", ".oif", ".vsi", ".ims"), "microscope file"),
    **dict.fromkeys((".mrxs", ".scn", ".bif", ".ndpi", ".vms", ".isyntax"), "slide"),
    **dict.fromkeys(
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef"), "camera raw"
    ),
    **dict.fromkeys((".psd", ".xcf", ".svg", ".eps", ".exr", ".tga"), "graphics file"),
    **dict.fromkeys((".npy", ".npz", ".mat", ".h5", ".hdf5"), "array file"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"), "video"),
}
# A file's first bytes, where they tell; after 4 bytes for the containers of phones.
_UNREAD_MAGIC = (
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"NRRD", "NRRD"),
    (0, b"ObjectType = Image", "MetaImage"),
    (344, b"ni1\0", "NIfTI as a pair of .hdr and .img"),
    (4, b"ni2\0", "NIfTI as a pair of .hdr and .img"),
    (0, b"ZISRAWFILE", "microscope file"),
    *((0, magic, "graphics file") for magic in (b"8BPS", b"P7\n", b"PF\n", b"v/1\x01")),
    *((4, b"ftyp" + brand, "HEIC") for brand in (b"heic", b"heix", b"hevc", b"mif1", b"msf1")),
    *((4, b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
)
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
    unread = _UNREAD_SUFFIXES.get(path.suffix.lower(), "")
    if unread == "camera raw":  # TIFF by its content, whose first image is a thumbnail
        return FileKind(unread=unread)
    kind = _kind_by_content(head)
    if kind:
        return FileKind(kind)
    for start, magic, format in _UNREAD_MAGIC:
        if head[start : start + len(magic)] == magic:
            return FileKind(unread=format)
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


def described(unread: dict[Path, str], most: int = 3) -> str:
    """The first of some files that are passed over, and how many more there are.

    Args:
        unread: the files, each with what it is.
        most: how many are named.

    Example:
        >>> described({Path("a/eye.heic"): "HEIC", Path("a/b.nrrd"): "NRRD"}, most=1)
        'eye.heic: HEIC, and 1 more'

    Source: ours.
    """
    named = [f"{path.name}: {format}" for path, format in list(unread.items())[:most]]
    more = len(unread) - most
    return ", ".join([*named, f"and {more} more"] if more > 0 else named)


def file_stem(path: Path) -> str:
    """The name of a file without its suffix; `.nii.gz` counts as one suffix, and a number as none.

    A number behind a point belongs to the name: of a DICOM file that is called by its UID, or
    that is one of a series.

    Args:
        path: the file.

    Returns:
        The name, its accents composed: file systems write them in one way or the other.

    Example:
        >>> file_stem(Path("folder/brain.nii.gz")), file_stem(Path("a.b.png"))
        ('brain', 'a.b')
        >>> file_stem(Path("1.2.840.10008.17"))
        '1.2.840.10008.17'

    Source: ours.
    """
    if is_gzipped_nifti(path):
        stem = path.name[: -len(".nii.gz")]
    else:
        stem = path.name if path.suffix[1:].isdigit() else path.stem
    return normal_name(stem)


def is_gzipped_nifti(path: Path) -> bool:
    """Whether the name of `path` ends in `.nii.gz`."""
    return path.name.lower().endswith(".nii.gz")
