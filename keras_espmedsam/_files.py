"""Writing files and folders so that they are complete or not there, and by one program alone."""

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

PREFIX = ".writing-"
"""How the name begins of what is being written; of what a killed program left, too."""

# Of what its writer holds locked: once it is free, nobody writes it any more.
_HELD = f"{PREFIX}held-"
# What tempfile puts between the two, and what version 0.1.0 put behind it.
_OURS = re.compile(re.escape(PREFIX) + r"(held-)?[a-z0-9_]{8}(\..*)?")
# Where the writer locks the file itself, and would fail.
_LOCKED_BY_WRITER = (".h5", ".hdf5")
# After so many seconds without a change nobody writes what has no lock that would tell.
_FORGOTTEN = 24 * 3600
# How often is made anew what another program took for a leftover before it was locked.
_ATTEMPTS = 20
_NAME = "new"


@contextlib.contextmanager
def atomic_path(path: str | os.PathLike, suffix: str = "") -> Iterator[Path]:
    """Give a temporary path beside `path`, renamed to `path` when the block ends well.

    The temporary name ends as `path` does, because many writers choose the format by the
    suffix. Missing folders are made. When the block raises, the temporary file is removed and
    whatever `path` held before is still there. What a killed program leaves is removed by
    `remove_leftovers`.

    Args:
        path: the file to write.
        suffix: how the temporary name ends, where that is more than the last part of `path`'s.

    Yields:
        The temporary path, of an empty file in the same folder.

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
    prefix = PREFIX if suffix.lower().endswith(_LOCKED_BY_WRITER) else _HELD

    def make() -> tuple[Path, int]:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        return Path(name), handle

    with _ours_alone(make, prefix == _HELD) as temporary:
        try:
            yield temporary
            # mkstemp makes files that only their owner can read; give what open() would give.
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike, replace: bool = False) -> Iterator[Path]:
    """Give a temporary folder near `path`, renamed to `path` when the block ends well.

    Killed at any moment, `path` is what it was before or what was written, and when the block
    raises it is what it was before. A folder that is replaced is exchanged in one step, on Linux
    and macOS; where the system cannot do that, it is called `.replaced-NAME` between two steps,
    and put back by the next call that finds it there alone. A folder that cannot be renamed (a
    mount point, one that holds the working folder, one whose own folder cannot be written)
    gets its files one by one.

    Args:
        path: the folder to write. Of a symbolic link it is the folder that it leads to.
        replace: whether `path` may hold something, which is replaced; see `carry_over`.

    Yields:
        The temporary folder, empty.

    Raises:
        OSError: when it cannot be written, is a file, or holds something that is not to be
            replaced.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "preset"
        >>> with atomic_folder(target) as temporary:
        ...     _ = (temporary / "config.json").write_text("{}")
        >>> os.listdir(target)
        ['config.json']

    Source: ours.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    _put_back(path)
    _check_folder(path, replace)
    with contextlib.ExitStack() as stack:
        renamed = not _holds_a_mount_or_us(path)
        if renamed:
            try:
                folder = stack.enter_context(writing_folder(path.parent))
            except OSError:
                if not path.is_dir():
                    raise
                renamed = False
        if not renamed:
            folder = stack.enter_context(writing_folder(path))
        new = folder / _NAME
        new.mkdir()
        yield new
        _check_folder(path, replace, but=None if renamed else folder.name)
        if not renamed:
            _move_into(new, path, folder.name)
        elif not path.exists():
            os.replace(new, path)
        elif not replace:
            path.rmdir()  # Empty, or this fails: what came there meanwhile stays.
            os.replace(new, path)
        else:
            shutil.copymode(path, new)
            replace_folder(new, path)


def carry_over(old: str | os.PathLike, new: str | os.PathLike) -> None:
    """Put into a folder what another one holds that it does not hold itself.

    Files become hard links where the file system has them: write none of them in place afterwards.

    Args:
        old: the folder that is going to be replaced; nothing is done where there is none.
        new: the folder that will take its place.

    Raises:
        OSError: when it cannot be written.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp())
        >>> _ = (target / "README.md").write_text("What these weights are")
        >>> with atomic_folder(target, replace=True) as temporary:
        ...     _ = (temporary / "config.json").write_text("{}")
        ...     carry_over(target, temporary)
        >>> sorted(os.listdir(target))
        ['README.md', 'config.json']

    Source: ours.
    """
    old, new = Path(old), Path(new)
    for parent, folders, files in os.walk(old):
        there = new / Path(parent).relative_to(old)
        if not there.is_dir():
            folders.clear()  # A file took the place of the folder.
            continue
        folders[:] = [name for name in folders if not _OURS.fullmatch(name)]
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in folders:
            if name not in links and not (there / name).exists():
                (there / name).mkdir()
        for name in (*files, *links):
            source, target = Path(parent) / name, there / name
            if os.path.lexists(target) or _OURS.fullmatch(name):
                continue
            try:
                os.link(source, target, follow_symlinks=False)
            except (OSError, NotImplementedError):  # A file system without hard links.
                shutil.copy2(source, target, follow_symlinks=False)


def remove_leftovers(folder: str | os.PathLike, alone: bool = False) -> None:
    """Remove what killed programs were writing in a folder; what another writes now stays.

    A program holds a lock on what it writes, which the system frees when it ends, however it
    ends. Where a file system or Windows has no such lock, and of what version 0.1.0 left, a day
    without a change tells. What cannot be removed stays.

    Args:
        folder: the folder; nothing is done where there is none.
        alone: whether it is known that no other program writes there, and that the folder is
            ours: then all that is named so goes.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / ".writing-held-0abc_def").mkdir()
        >>> remove_leftovers(folder)
        >>> os.listdir(folder)
        []

    Source: ours.
    """
    try:
        names = [
            name
            for name in os.listdir(folder)
            if (name.startswith(PREFIX) if alone else _OURS.fullmatch(name))
        ]
    except OSError:
        return
    for name in names:
        path = Path(folder) / name
        # A lock is tried of nothing else: h5py takes one itself of the file that it opens.
        if alone or not name.startswith(_HELD):
            if alone or _is_forgotten(path):
                _remove(path)
            continue
        handle = _opened(path)
        try:
            free = None if handle is None else _lock(handle)
            if free or (free is None and _is_forgotten(path)):
                _remove(path)
        finally:
            if handle is not None:
                os.close(handle)


def check_writable(folder: str | os.PathLike) -> None:
    """See whether a folder can be written, or be made, without leaving anything behind.

    Args:
        folder: the folder; of one that is missing the next one above it is tried.

    Raises:
        OSError: when it cannot.

    Example:
        >>> import tempfile
        >>> check_writable(Path(tempfile.mkdtemp()) / "masks")

    Source: ours.
    """
    folder = Path(os.path.abspath(folder))
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(prefix=PREFIX, dir=folder):
        pass


@contextlib.contextmanager
def writing_folder(parent: Path) -> Iterator[Path]:
    """A folder of our own to write in, locked; removed at the end with all that is left in it.

    For what is not one file or folder; `atomic_path` and `atomic_folder` are for these.

    Args:
        parent: the folder that it lies in, which is there.

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

    Source: ours.
    """

    def make() -> tuple[Path, int | None]:
        folder = Path(tempfile.mkdtemp(prefix=_HELD, dir=parent))
        return folder, _opened(folder)

    with _ours_alone(make) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ours_alone(make: Callable[[], tuple[Path, int | None]], lock: bool = True) -> Iterator[Path]:
    """What `make` makes and opens, locked until the block ends, so that others leave it there."""
    for _ in range(_ATTEMPTS):
        path, handle = make()
        if handle is None and path.exists():
            break
        if handle is not None:
            if not lock or (_lock(handle) is not False and _is_at(path, handle)):
                break
            os.close(handle)  # Another program took it for a leftover and has removed it.
    else:
        raise OSError(errno.EBUSY, "what is written there is removed at once", str(path.parent))
    # Windows renames no file that is open.
    if handle is not None and (not lock or sys.platform == "win32"):
        os.close(handle)
        handle = None
    try:
        yield path
    finally:
        if handle is not None:
            os.close(handle)


def _opened(path: Path) -> int | None:
    """A file or folder, open so that it can be locked; None where that cannot be."""
    # NFS locks nothing that is open for reading alone, and no folder is open for writing.
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, mode | flags)
    except OSError:  # Windows opens no folder.
        return None


def _lock(handle: int) -> bool | None:
    """Lock what is open: True, it is ours now; False, another program's; None, no way to know."""
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return False if isinstance(error, BlockingIOError) else None
    return True


def _is_at(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except OSError:
        return False


def _is_forgotten(path: Path) -> bool:
    try:
        last = max(file.lstat().st_mtime for file in (path, *path.rglob("*")))
    except OSError:
        return False
    return time.time() - last > _FORGOTTEN


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def _check_folder(path: Path, replace: bool, but: str | None = None) -> None:
    if os.path.lexists(path) and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "it is a file", str(path))
    if not replace and path.is_dir() and any(one.name != but for one in path.iterdir()):
        raise FileExistsError(errno.ENOTEMPTY, "it holds something", str(path))


def _holds_a_mount_or_us(path: Path) -> bool:
    """Whether a folder is a mount point, or the working folder, of a shell too, lies in it."""
    try:
        here = Path(os.getcwd())
    except OSError:
        return os.path.ismount(path)
    return os.path.ismount(path) or path in (here, *here.parents)


def _move_into(new: Path, path: Path, ours: str) -> None:
    """Replace what a folder holds by what another one holds, file by file."""
    for parent, folders, files in os.walk(new):
        here, there = Path(parent), path / Path(parent).relative_to(new)
        for old in there.iterdir():
            link = old.is_symlink() or (here / old.name).is_symlink()
            same = os.path.lexists(here / old.name) and not link
            if (there / old.name != path / ours) and not (
                same and old.is_dir() == (here / old.name).is_dir()
            ):
                _remove(old)
        for name in [name for name in folders if (here / name).is_symlink()]:
            folders.remove(name)
            files.append(name)
        for name in folders:
            (there / name).mkdir(exist_ok=True)
        for name in files:
            os.replace(here / name, there / name)


def replace_folder(new: Path, path: Path) -> None:
    """Let two folders change names; the old one lies where the new one was, or is removed.

    Args:
        new: the folder that takes the place of the other.
        path: the folder that is replaced.

    Raises:
        OSError: when one cannot be renamed.

    Source: ours.
    """
    if _exchanged(new, path):
        return
    old = _replaced(path)
    os.replace(path, old)
    os.replace(new, path)
    shutil.rmtree(old, ignore_errors=True)


def _exchanged(first: Path, second: Path) -> bool:
    """Whether the system could exchange two names in one step, which Python has no function for."""
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


def _put_back(path: Path) -> None:
    """Put back a folder whose replacement was killed between two steps."""
    old = _replaced(path)
    if old.is_dir() and not os.path.lexists(path):
        os.replace(old, path)


@contextlib.contextmanager
def alone_in(folder: Path, seconds: float = 30) -> Iterator[None]:
    """Meanwhile no other program is in such a block for the same folder; it leaves no file.

    Args:
        folder: a folder that is there.
        seconds: how long another program is waited for; it moves files and needs no more.

    Example:
        >>> import tempfile
        >>> with alone_in(Path(tempfile.mkdtemp())):
        ...     pass

    Source: ours.
    """
    handle = _opened(folder)
    try:
        end = time.monotonic() + seconds
        # Where there is no lock, it is as if nobody else were there.
        while handle is not None and _lock(handle) is False and time.monotonic() < end:
            time.sleep(0.05)
        yield
    finally:
        if handle is not None:
            os.close(handle)


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
    # A file system without locks: there is no way to know, and nothing is refused.
    return _lock(file.fileno()) is not False
