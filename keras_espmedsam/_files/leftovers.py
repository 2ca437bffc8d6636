"""Remove what killed programs have left half-written."""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

from keras_espmedsam._files.locks import open_to_lock, try_lock
from keras_espmedsam._files.temporary import HELD, OURS, PREFIX

# If there is no lock to tell, a leftover is one without a change for this many seconds.
_FORGOTTEN = 24 * 3600


def remove_leftovers(folder: str | os.PathLike, alone: bool = False) -> None:
    """Remove the half-written leftovers of killed programs from a folder.

    Files that another program is writing stay: a program locks what it writes, and the system
    frees the lock when the program ends in any way. Without such locks (on Windows and some file
    systems), and for leftovers of version 0.1.0, files without a change for a day are removed.
    Files that cannot be removed stay.

    Args:
        folder: the folder; nothing is done if it does not exist.
        alone: whether no other program can be writing there, so that everything with the prefix is
            removed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".writing-held-0abc_def").mkdir()
        >>> remove_leftovers(folder)
        >>> os.listdir(folder)
        []
    """
    try:
        names = [
            name
            for name in os.listdir(folder)
            if (name.startswith(PREFIX) if alone else OURS.fullmatch(name))
        ]
    except OSError:
        return
    for name in names:
        path = Path(folder) / name
        if alone:
            remove(path)
            continue
        held = name.startswith(HELD)
        # Do not try to lock a new file that is not locked by us: h5py locks its files itself, and
        # would fail.
        if not held and not _is_forgotten(path):
            continue
        handle = open_to_lock(path)
        try:
            free = None if handle is None else try_lock(handle)
            if free is not False and (free or not held or _is_forgotten(path)):
                remove(path)
        finally:
            if handle is not None:
                os.close(handle)


def _is_forgotten(path: Path) -> bool:
    try:
        last = max(file.lstat().st_mtime for file in (path, *path.rglob("*")))
        if time.time() - last <= _FORGOTTEN:
            return False
        # The clock of a file server may differ from this machine's, so ask the server.
        with tempfile.TemporaryFile(prefix=PREFIX, dir=path.parent) as file:
            now = os.fstat(file.fileno()).st_mtime
    except OSError:
        return False
    return now - last > _FORGOTTEN


def remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()
