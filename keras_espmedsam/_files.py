"""Writing a file so that it is either complete or not there, and by one program alone."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PREFIX = ".writing-"
"""How the name of a file begins that is being written; one that a killed program left does too."""


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, suffix: str = "") -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to `path` when the block ends well.

    The temporary name ends as `path` does, because many writers choose the format by the
    suffix. Missing folders are made. When the block raises, the temporary file is removed and
    whatever `path` held before is still there.

    Args:
        path: the file to write.
        suffix: how the temporary name ends, where that is more than the last part of `path`'s.

    Yields:
        The temporary path, in the same folder.

    Raises:
        OSError: when the folder cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "report.json"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("{}")
        >>> target.read_text()
        '{}'

    Source: ours.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of `.nii.gz` and `.weights.h5` both parts say what is written.
    both = path.suffix in (".gz", ".h5")
    suffix = suffix or ("".join(path.suffixes[-2:]) if both else path.suffix)
    handle, name = tempfile.mkstemp(prefix=PREFIX, suffix=suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes files that only their owner can read; give what open() would give.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def locked(file: IO) -> bool:
    """Whether this program alone now holds an open file; the system frees it when it ends.

    Args:
        file: a file open for writing. The lock is given back when it is closed, and when the
            program ends, however it ends.

    Example:
        >>> import tempfile
        >>> with tempfile.NamedTemporaryFile() as first, open(first.name, "a") as second:
        ...     locked(first), locked(second)
        (True, False)

    Source: ours.
    """
    # The library filelock locks a file of its own by its path; a log is locked here that is being
    # written. And where a file system has no locks it leaves a marker, which a killed program's
    # next start would wait for.
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        # A file system without locks: there is no way to know, and nothing is refused.
        return not isinstance(error, BlockingIOError)
    return True
