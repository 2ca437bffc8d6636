"""Lock a folder so that one program at a time uses it."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from keras_espmedsam._files import locked
from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam.errors import InputError

LOCK = ".lock"
"""The file with which a `RunFolder` locks its folder while it trains."""
RUN_LOCK = ".run.lock"
"""The file with which a run of several phases locks its folder from beginning to end."""
# How often to retry if another program removes the lock as it ends.
_ATTEMPTS = 20


@contextlib.contextmanager
def only_program(folder: str | os.PathLike, name: str = LOCK) -> Iterator[None]:
    """Keep other programs out of a folder until the block ends.

    The lock of a killed program does not block: the system releases it when the program ends. On a
    file system without locks, other programs are not kept out.

    Args:
        folder: path; created if it does not exist, and removed if it is still empty when the block
            ends.
        name: str. The file to lock, removed when the block ends.

    Raises:
        InputError: if another program holds it, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> with only_program(folder):
        ...     os.listdir(folder)
        ['.lock']
        >>> os.listdir(folder)
        []
    """
    path = Path(folder) / name
    made = not path.parent.exists()
    with _held(path) as file:
        try:
            yield
        finally:
            # While locked, else it might be the next program's. Windows cannot remove open files.
            if _is_at(path, file):
                with contextlib.suppress(OSError):
                    path.unlink()
            if made:
                with contextlib.suppress(OSError):
                    path.parent.rmdir()


def _held(path):
    """Return the file, open and locked."""
    problem: OSError | None = None
    for _ in range(_ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                check_plain_file(path)
            file = path.open("a")
        except FileNotFoundError as error:
            problem = error  # The previous program has just removed the empty folder.
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
        file.close()  # The previous program has just removed the file: it no longer locks.
    reason = problem.strerror if problem is not None else "its lock disappears"
    raise InputError(f"The folder {path.parent} cannot be written: {reason}.") from problem


def _is_at(path, file):
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except OSError:
        return False
