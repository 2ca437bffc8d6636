"""Check beforehand that files can be written: the permission and the room."""

import errno
import os
import shutil
import tempfile
from pathlib import Path

from keras_espmedsam._files.temporary import PREFIX


def check_writable(folder: str | os.PathLike) -> None:
    """Check that a folder can be written or created, without leaving anything behind.

    Args:
        folder: the folder; if it is missing, the nearest existing folder above it is tried.

    Raises:
        OSError: when it cannot be written.

    Example:
        >>> import tempfile
        >>> check_writable(Path(tempfile.mkdtemp()) / "masks")
    """
    folder = Path(os.path.abspath(folder))
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(prefix=PREFIX, dir=folder):
        pass


def check_space(folder: str | os.PathLike, size: int) -> None:
    """Check that there is room for a file, without leaving anything behind.

    This is needed for HDF5, which ends the program when it cannot close a file on a full disk.

    Args:
        folder: an existing folder.
        size: bytes.

    Raises:
        OSError: when there is not enough room, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> check_space(tempfile.mkdtemp(), 1000)
    """
    with tempfile.TemporaryFile(prefix=PREFIX, dir=os.fspath(folder)) as file:
        if hasattr(os, "posix_fallocate"):
            try:
                # This respects the user's quota, too.
                os.posix_fallocate(file.fileno(), 0, max(1, size))
                return
            except OSError as error:
                if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG):
                    raise OSError(error.errno, error.strerror, str(folder)) from error
        # Windows, macOS, and file systems that cannot reserve space.
        if shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
