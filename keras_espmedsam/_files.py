"""Write files and folders completely or not at all, by one process at a time."""

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
"""Prefix of the names of files and folders being written, and of a killed program's leftovers."""

# Prefix for names that the writer keeps locked: if the lock is free, nobody writes any more.
_HELD = f"{PREFIX}held-"
# The prefix, tempfile's eight characters, and a suffix as in version 0.1.0.
_OURS = re.compile(re.escape(PREFIX) + r"(held-)?[a-z0-9_]{8}(\..*)?")
# Suffixes of files that their writer locks itself, and would fail to if they were locked.
_LOCKED_BY_WRITER = (".h5", ".hdf5")
# If there is no lock to tell, a leftover is one without a change for this many seconds.
_FORGOTTEN = 24 * 3600
# How often to try again if another process removed a temporary file before it was locked.
_ATTEMPTS = 20
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
    prefix = PREFIX if suffix.lower().endswith(_LOCKED_BY_WRITER) else _HELD

    def make() -> tuple[Path, int]:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=suffix, dir=path.parent)
        return Path(name), handle

    with _ours_alone(make, prefix == _HELD) as temporary:
        try:
            yield temporary
            # mkstemp creates files that only the owner can read; use the permissions of open().
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o666 & ~umask)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: str | os.PathLike, replace: bool = False) -> Iterator[Path]:
    """Yield a temporary folder near `path`, which is renamed to `path` if the block succeeds.

    If the program is killed, `path` is either the old folder or the new one; if the block raises,
    it is the old one. On Linux and macOS, an existing folder is exchanged in one step. Elsewhere it
    is called `.replaced-NAME` between two steps, and the next call restores it if needed. A folder
    that cannot be renamed (a mount point, one that contains the working folder, or one in a folder
    that cannot be written) gets its files one by one.

    Args:
        path: the folder to write; a symbolic link is followed.
        replace: whether the content of `path` may be replaced; see `carry_over`.

    Yields:
        The temporary folder, empty.

    Raises:
        OSError: when it cannot be written, is a file, or is not empty and must not be replaced.

    Example:
        >>> import tempfile
        >>> target = Path(tempfile.mkdtemp()) / "preset"
        >>> with atomic_folder(target) as temporary:
        ...     _ = (temporary / "config.json").write_text("{}")
        >>> os.listdir(target)
        ['config.json']
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
            path.rmdir()  # Fails if it is no longer empty, so that new content stays.
            os.replace(new, path)
        else:
            shutil.copymode(path, new)
            try:
                replace_folder(new, path)
            except OSError as error:
                # In the lower layer of a container, folders cannot be renamed, but files can.
                if error.errno != errno.EXDEV or not path.is_dir():
                    raise
                _move_into(new, path, folder.name)


def carry_over(old: str | os.PathLike, new: str | os.PathLike) -> None:
    """Copy the files of an old folder to a new one, except those that the new one already has.

    Files become hard links if the file system supports them, so do not modify them in place.

    Args:
        old: the folder that will be replaced; nothing is done if it does not exist.
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
    """
    old, new = Path(old), Path(new)
    for parent, folders, files in os.walk(old):
        there = new / Path(parent).relative_to(old)
        if not there.is_dir():
            folders.clear()  # The new folder has a file of that name.
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
            if (name.startswith(PREFIX) if alone else _OURS.fullmatch(name))
        ]
    except OSError:
        return
    for name in names:
        path = Path(folder) / name
        if alone:
            _remove(path)
            continue
        held = name.startswith(_HELD)
        # Do not try to lock a new file that is not locked by us: h5py locks its files itself, and
        # would fail.
        if not held and not _is_forgotten(path):
            continue
        handle = _opened(path)
        try:
            free = None if handle is None else _lock(handle)
            if free is not False and (free or not held or _is_forgotten(path)):
                _remove(path)
        finally:
            if handle is not None:
                os.close(handle)


def check_writable(folder: str | os.PathLike) -> None:
    """Check that a folder can be written or created, without leaving anything behind.

    Args:
        folder: the folder; if it is missing, the nearest existing folder above it is tried.

    Raises:
        OSError: when it cannot be written.

    Example:
        >>> import tempfile
        >>> check_writable(Path(tempfile.mkdtemp()) / "masks")
    """
    folder = Path(os.path.abspath(folder))
    while not os.path.lexists(folder) and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(prefix=PREFIX, dir=folder):
        pass


def check_space(folder: str | os.PathLike, size: int) -> None:
    """Check that there is room for a file, without leaving anything behind.

    This is needed for HDF5, which ends the program when it cannot close a file on a full disk.

    Args:
        folder: an existing folder.
        size: bytes.

    Raises:
        OSError: when there is not enough room, or the folder cannot be written.

    Example:
        >>> import tempfile
        >>> check_space(tempfile.mkdtemp(), 1000)
    """
    with tempfile.TemporaryFile(prefix=PREFIX, dir=os.fspath(folder)) as file:
        if hasattr(os, "posix_fallocate"):
            try:
                # This respects the user's quota, too.
                os.posix_fallocate(file.fileno(), 0, max(1, size))
                return
            except OSError as error:
                if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None), errno.EFBIG):
                    raise OSError(error.errno, error.strerror, str(folder)) from error
        # Windows, macOS, and file systems that cannot reserve space.
        if shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))


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
        folder = Path(tempfile.mkdtemp(prefix=_HELD, dir=parent))
        return folder, _opened(folder)

    with _ours_alone(make) as folder:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ours_alone(make: Callable[[], tuple[Path, int | None]], lock: bool = True) -> Iterator[Path]:
    """Lock what `make` creates and opens until the block ends, so that others leave it alone."""
    for _ in range(_ATTEMPTS):
        path, handle = make()
        if handle is None and path.exists():
            break
        if handle is not None:
            if not lock or (_lock(handle) is not False and _is_at(path, handle)):
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


def _opened(path: Path) -> int | None:
    """Open a file or folder so that it can be locked; None if that is not possible."""
    # NFS cannot lock what is open only for reading, and folders cannot be opened for writing.
    mode = os.O_RDONLY if path.is_dir() else os.O_RDWR
    flags = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        return os.open(path, mode | flags)
    except OSError:  # Windows cannot open folders.
        return None


def _lock(handle: int) -> bool | None:
    """Lock an open file: True if it worked, False if another program holds it, None if unknown."""
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
        if time.time() - last <= _FORGOTTEN:
            return False
        # The clock of a file server may differ from this machine's, so ask the server.
        with tempfile.TemporaryFile(prefix=PREFIX, dir=path.parent) as file:
            now = os.fstat(file.fileno()).st_mtime
    except OSError:
        return False
    return now - last > _FORGOTTEN


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
        raise FileExistsError(errno.ENOTEMPTY, "it is not empty", str(path))


def _holds_a_mount_or_us(path: Path) -> bool:
    """Return whether a folder is a mount point or contains the working folder."""
    try:
        here = Path(os.getcwd())
    except OSError:
        return os.path.ismount(path)
    return os.path.ismount(path) or path in (here, *here.parents)


def _move_into(new: Path, path: Path, ours: str) -> None:
    """Replace the content of a folder by that of another one, file by file."""
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


def _put_back(path: Path) -> None:
    """Restore a folder if its replacement was killed between two steps."""
    old = _replaced(path)
    if old.is_dir() and not os.path.lexists(path):
        os.replace(old, path)


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
    handle = _opened(folder)
    try:
        end = time.monotonic() + seconds
        # Without locks, it is assumed that there is no other program.
        while handle is not None and _lock(handle) is False and time.monotonic() < end:
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
    return _lock(file.fileno()) is not False
