"""Recognise images in unsupported formats, so that they are reported and not ignored."""

from pathlib import Path

CAMERA_RAW = "camera raw"
READ_INSTEAD = "PNG, JPEG, TIFF, DICOM or NIfTI"
"""The formats to save such images in."""
_SUFFIXES = {
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
        (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf", ".pef"), CAMERA_RAW
    ),
    **dict.fromkeys((".psd", ".xcf", ".svg", ".eps", ".exr", ".tga"), "graphics file"),
    **dict.fromkeys((".npy", ".npz", ".mat", ".h5", ".hdf5"), "array file"),
    **dict.fromkeys((".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv"), "video"),
}
# Offset, first bytes and format; containers of phones have them after 4 bytes.
_MAGIC = (
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


def unread_by_name(path: Path) -> str:
    """Return the unsupported format that a file's name stands for, or an empty string.

    Args:
        path: the file.

    Example:
        >>> unread_by_name(Path("phone.HEIC"))
        'HEIC'
    """
    return _SUFFIXES.get(path.suffix.lower(), "")


def unread_by_content(head: bytes) -> str:
    """Return the unsupported format of a file's content, or an empty string.

    Args:
        head: its first bytes.

    Example:
        >>> unread_by_content(b"NRRD0004")
        'NRRD'
    """
    for start, magic, format in _MAGIC:
        if head[start : start + len(magic)] == magic:
            return format
    return ""


def described(unread: dict[Path, str], most: int = 3) -> str:
    """Name the first of some skipped files, and the number of the rest.

    Args:
        unread: the files, each with its format.
        most: how many files to name.

    Example:
        >>> described({Path("a/eye.heic"): "HEIC", Path("a/b.nrrd"): "NRRD"}, most=1)
        'eye.heic: HEIC, and 1 more'
    """
    named = [f"{path.name}: {format}" for path, format in list(unread.items())[:most]]
    more = len(unread) - most
    return ", ".join([*named, f"and {more} more"] if more > 0 else named)
