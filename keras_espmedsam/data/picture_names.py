"""Which files of a folder are pictures, by their names."""

from pathlib import Path

PICTURE_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm", ".webp"),
    *(".dcm", ".dicom", ".nii", ".nii.gz"),
)
"""How the names of picture files end, in lower case."""


def is_picture_name(path: Path) -> bool:
    """Whether a file is to be taken as a picture: by its suffix, or as DICOM without one.

    Args:
        path: the file; it is opened only where it has no suffix.

    Example:
        >>> is_picture_name(Path("scan.NII.GZ")), is_picture_name(Path("notes.txt"))
        (True, False)

    Source: ours.
    """
    if path.name.lower().endswith(PICTURE_SUFFIXES):
        return True
    if path.suffix:
        return False
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False
