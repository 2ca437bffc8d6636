"""Write a file completely or not at all."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from keras_espmedsam._files.temporary import HELD, PREFIX, ours_alone

# Suffixes of files that their writer locks itself, and would fail to if they were locked.
_LOCKED_BY_WRITER = (".h5", ".hdf5")
_NAME = "new"


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, suffix: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `path`, which is renamed to `path` if the block succeeds.

    The temporary name has the suffix of `path`, because many writers choose the format by it.
    Missing folders are created. If the block raises, the temporary file is removed and `path` is
    unchanged. Leftovers of a killed program are removed by `remove_leftovers`.

    Args:
        path: the file to write.
        suffix: suffix of the temporary name, if it has several parts.

    Yields:
        The temporary path, an empty file in the same folder. For a pipe or a device it is in
        another folder, and copied at the end.

    Raises:
        OSError: when the folder cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "report.json"
        >>> with atomic_path(target) as temporary:
        ...     _ = temporary.write_text("{}")
        >>> target.read_text()
        '{}'
    """
    path = Path(path)
    # Both parts of `.nii.gz` and `.weights.h5` matter.
    both = path.suffix in (".gz", ".h5")
    suffix = suffix or ("".join(path.suffixes[-2:]) if both else path.suffix)
    if path.is_char_device() or path.is_fifo():
        # Renaming would replace /dev/null or /dev/stdout by a file, for all programs on this
        # machine, so the content is copied.
        with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
            temporary = Path(folder) / (_NAME + suffix)
            temporary.touch()
            yield temporary
            with temporary.open("rb") as source, path.open("wb") as target:
                shutil.copyfileobj(source, target)
        return
    if path.is_block_device() or path.is_socket():
        raise OSError(errno.EINVAL, "it is a device or a socket; expected a file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    prefix = PREFIX if suffix.lower().endswith(_LOCKED_BY_WRITER) else HELD

    def make() -> tuple[Path, int]:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        return Path(name), handle

    with ours_alone(make, prefix == HELD) as temporary:
        try:
            yield temporary
            # mkstemp creates files that only the owner can read; use the permissions of open().
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
