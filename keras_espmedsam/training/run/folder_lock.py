"""One program at a time in a folder."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from keras_espmedsam._files import locked
from keras_espmedsam.errors import InputError

LOCK = ".lock"
"""The file by which a `RunFolder` keeps others out while it trains."""
RUN_LOCK = ".run.lock"
"""The file by which a run of several phases does, from its beginning to its end."""
# How often a lock is taken anew that another program took away as it ended.
_ATTEMPTS = 20


@contextlib.contextmanager
def only_program(folder: str | os.PathLike, name: str = LOCK) -> Iterator[None]:
    """Keep other programs out of a folder until the block ends.

    A file that a killed program left is no lock: the system frees it when the program ends. On a
    file system without locks nobody is kept out.

    Args:
        folder: path; made when it does not exist, and taken away again if it is still empty when
            the block ends.
        name: str. The file that is locked, and taken away when the block ends.

    Raises:
        InputError: when another program holds it, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with only_program(folder):
        ...     os.listdir(folder)
        ['.lock']
        >>> os.listdir(folder)
        []

    Source: ours.
    """
    path = Path(folder) / name
    made = not path.parent.exists()
    with _held(path) as file:
        try:
            yield
        finally:
            # While it is held, or it might be the next program's. Windows takes no open file away.
            if _is_at(path, file):
                with contextlib.suppress(OSError):
                    path.unlink()
            if made:
                with contextlib.suppress(OSError):
                    path.parent.rmdir()


def _held(path):
    """The file, open and locked."""
    problem: OSError | None = None
    for _ in range(_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except FileNotFoundError as error:
            problem = error  # The program before has just taken the empty folder away.
            continue
        except OSError as error:
            problem = error
            break
        if not locked(file):
            file.close()
            raise InputError(
                f"Another program is training in {path.parent}; wait for it, end it, or give "
                "another folder."
            )
        if _is_at(path, file):
            return file
        file.close()  # The program before has just taken the file away: it keeps nobody out.
    reason = problem.strerror if problem is not None else "its lock disappears"
    raise InputError(f"The folder {path.parent} cannot be written: {reason}.") from problem


def _is_at(path, file):
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
