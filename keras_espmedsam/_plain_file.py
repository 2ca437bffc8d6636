"""Open only regular files: pipes and devices could block, or be read without end."""

import errno
import os
import stat
from pathlib import Path

_NO_FILES = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def no_file(path: str | os.PathLike) -> str | None:
    """Describe a path that is not a regular file: a folder, a pipe, a socket, a device.

    Opening a pipe without a writer blocks, and a device may have no end.

    Args:
        path: the path; links are followed.

    Returns:
        str, as part of a sentence; None for a regular file.

    Raises:
        OSError: when the path does not exist or cannot be accessed.

    Example:
        >>> import tempfile
        >>> no_file(tempfile.mkdtemp())
        'a folder'
    """
    mode = os.stat(path).st_mode
    return None if stat.S_ISREG(mode) else _NO_FILES.get(stat.S_IFMT(mode), "not a file")


def check_plain_file(path: str | os.PathLike) -> None:
    """Check that a path is a regular file.

    Args:
        path: the path.

    Raises:
        OSError: when it is not, with a description and advice in `strerror`, as part of a
            sentence; or when it does not exist or cannot be accessed.

    Example:
        >>> import tempfile
        >>> check_plain_file(tempfile.mkdtemp())  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        IsADirectoryError: [Errno 21] it is a folder; expected a file: ...
    """
    what = no_file(path)
    if what is None:
        return
    if what == "a folder":
        raise IsADirectoryError(errno.EISDIR, "it is a folder; expected a file", os.fspath(path))
    advice = "save its output as a file" if what == "a pipe" else "expected a file"
    raise OSError(errno.EINVAL, f"it is {what}; {advice}", os.fspath(path))


def read_plain_file(path: str | os.PathLike, most: int) -> bytes:
    """Read a regular file of limited size.

    Args:
        path: the file.
        most: the most bytes that it may have.

    Raises:
        OSError: when it is larger, not a regular file or cannot be read; `strerror` explains it,
            as part of a sentence.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "a.json"
        >>> _ = path.write_text("{}")
        >>> read_plain_file(path, 100)
        b'{}'
    """
    check_plain_file(path)
    # Its size is not reliable: it may grow, and files in /proc have none.
    content = b""
    if (size := os.stat(path).st_size) <= most:
        with Path(path).open("rb") as file:
            content = file.read(most + 1)
    if max(size, len(content)) > most:
        limit = f"{most >> 20:,} MiB" if most >= 2**20 else f"{most:,} bytes"
        raise OSError(errno.EFBIG, f"it has more than {limit}", os.fspath(path))
    return content
