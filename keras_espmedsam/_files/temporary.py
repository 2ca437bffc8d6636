"""Temporary files and folders that nobody else takes for leftovers while they are written."""

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from keras_espmedsam._files.locks import open_to_lock, try_lock

PREFIX = ".writing-"
"""Prefix of the names of files and folders being written, and of a killed program's leftovers."""

# Prefix for names that the writer keeps locked: if the lock is free, nobody writes any more.
HELD = f"{PREFIX}held-"
# The prefix, tempfile's eight characters, and a suffix as in version 0.1.0.
OURS = re.compile(re.escape(PREFIX) + r"(held-)?[a-z0-9_]{8}(\..*)?")
# How often to try again if another process removed a temporary file before it was locked.
_ATTEMPTS = 20


@contextlib.contextmanager
def writing_folder(parent: Path) -> Iterator[Path]:
    """Yield a locked temporary folder, which is removed at the end with its content.

    To write a single file or folder, use `atomic_path` or `atomic_folder`.

    Args:
        parent: an existing folder to create it in.

    Yields:
        Its path.

    Raises:
        OSError: when it cannot be written.

    Example:
        >>> import tempfile
        >>> with writing_folder(Path(tempfile.mkdtemp())) as folder:
        ...     _ = (folder / "eye.onnx").write_bytes(b"...")
        >>> folder.exists()
        False
    """

    def make() -> tuple[Path, int | None]:
        folder = Path(tempfile.mkdtemp(prefix=HELD, dir=parent))
        return folder, open_to_lock(folder)

    with ours_alone(make) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def ours_alone(make: Callable[[], tuple[Path, int | None]], lock: bool = True) -> Iterator[Path]:
    """Lock what `make` creates and opens until the block ends, so that others leave it alone."""
    for _ in range(_ATTEMPTS):
        path, handle = make()
        if handle is None and path.exists():
            break
        if handle is not None:
            if not lock or (try_lock(handle) is not False and _is_at(path, handle)):
                break
            os.close(handle)  # Another program has removed it as a leftover.
    else:
        raise OSError(errno.EBUSY, "files written there are removed at once", str(path.parent))
    # Windows cannot rename an open file.
    if handle is not None and (not lock or sys.platform == "win32"):
        os.close(handle)
        handle = None
    try:
        yield path
    finally:
        if handle is not None:
            os.close(handle)


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False
