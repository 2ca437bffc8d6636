"""List the image files of a folder."""

import os
import warnings
from pathlib import Path

from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.formats.unread import READ_INSTEAD, described
from keras_espmedsam.errors import InputError, InputWarning


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """Return the image files of a folder, sorted, without hidden ones.

    Args:
        folder: an existing folder.
        recursive: whether subfolders are searched too.

    Raises:
        InputError: when the folder, or one in it, cannot be read.

    Warns:
        InputWarning: for images in unsupported formats, which are left out.
    """
    found, unread = [], {}
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = sorted(n for n in folders if recursive and not n.startswith("."))
        paths = (Path(parent) / name for name in sorted(names) if not name.startswith("."))
        for path in paths:
            is_a = file_kind(path)
            if is_a.format:
                found.append(path)
            elif is_a.unread:
                unread[path] = is_a.unread
    if unread:
        warnings.warn(
            f"Skipped {len(unread)} file{'s' * (len(unread) > 1)} of {folder} in unsupported "
            f"formats ({described(unread)}); save them as {READ_INSTEAD}.",
            InputWarning,
            stacklevel=2,
        )
    return found


def _refuse_unreadable(error):
    """Reject an unreadable folder, because its images would silently be missing."""
    raise InputError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Make it readable, or move "
        "it elsewhere."
    ) from error
