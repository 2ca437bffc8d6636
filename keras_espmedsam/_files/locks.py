"""Locks of files and folders, which the system frees when a program ends in any way."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO


@contextlib.contextmanager
def alone_in(folder: Path, seconds: float = 30) -> Iterator[None]:
    """Keep other programs out of such a block for the same folder, without leaving a file.

    Args:
        folder: an existing folder.
        seconds: how long to wait for another program, which only moves files there.

    Example:
        >>> import tempfile
        >>> with alone_in(Path(tempfile.mkdtemp())):
        ...     pass
    """
    handle = open_to_lock(folder)
    try:
        end = time.monotonic() + seconds
        # Without locks, it is assumed that there is no other program.
        while handle is not None and try_lock(handle) is False and time.monotonic() < end:
            time.sleep(0.05)
        yield
    finally:
        if handle is not None:
            os.close(handle)


def locked(file: IO) -> bool:
    """Lock an open file for this process, and return whether that worked.

    Args:
        file: a file open for writing. The lock is released when the file is closed, or when the
            program ends in any way.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as first, open(first.name, "a") as second:
        ...     locked(first), locked(second)
        (True, False)
    """
    # The library filelock would lock a separate file, not the open one. On file systems without
    # locks it leaves a marker, for which the next start after a kill would wait.
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    # On a file system without locks, it counts as locked.
    return try_lock(file.fileno()) is not False


def open_to_lock(path: Path) -> int | None:
    """Open a file or folder so that it can be locked; None if that is not possible."""
    # NFS cannot lock what is open only for reading, and folders cannot be opened for writing.
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, mode | flags)
    except OSError:  # Windows cannot open folders.
        return None


def try_lock(handle: int) -> bool | None:
    """Lock an open file: True if it worked, False if another program holds it, None if unknown."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if isinstance(error, BlockingIOError) else None
    return True
