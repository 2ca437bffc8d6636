"""Replace a folder by another: in one step where the system can, and else in two."""

import os
import shutil
import sys
from pathlib import Path


def replace_folder(new: Path, path: Path) -> None:
    """Replace a folder by another; the old one takes the other's name, or is removed.

    Args:
        new: the new folder.
        path: the folder to replace.

    Raises:
        OSError: when one cannot be renamed.
    """
    if _exchanged(new, path):
        return
    old = _replaced(path)
    os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Exchange two names in one step with a system call, and return whether it worked."""
    if sys.platform not in ("linux", "darwin"):
        return False
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    here, there, swap = os.fsencode(first), os.fsencode(second), 2
    try:
        if sys.platform == "darwin":
            return library.renamex_np(here, there, swap) == 0
        working_folder = -100
        return library.renameat2(working_folder, here, working_folder, there, swap) == 0
    except AttributeError:  # An older C library.
        return False


def _replaced(path: Path) -> Path:
    return path.with_name(f".replaced-{path.name}")


def put_back(path: Path) -> None:
    """Restore a folder if its replacement was killed between two steps."""
    old = _replaced(path)
    if old.is_dir() and not os.path.lexists(path):
        os.replace(old, path)
