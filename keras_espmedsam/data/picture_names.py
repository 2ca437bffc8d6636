"""Which files of a folder are images, by their content and names."""

from pathlib import Path

from keras_espmedsam.data.file_kinds import IMAGE_SUFFIXES as PICTURE_SUFFIXES
from keras_espmedsam.data.file_kinds import file_kind

__all__ = ["PICTURE_SUFFIXES", "is_picture_name"]


def is_picture_name(path: Path) -> bool:
    """Whether a file is to be taken as an image; see `file_kind`.

    Example:
        >>> is_picture_name(Path("scan.NII.GZ")), is_picture_name(Path("notes.txt"))
        (True, False)

    Source: ours.
    """
    return bool(file_kind(path).kind)
