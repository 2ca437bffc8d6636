"""Write a folder completely or not at all."""

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from keras_espmedsam._files.leftovers import remove
from keras_espmedsam._files.replaced_folders import put_back, replace_folder
from keras_espmedsam._files.temporary import OURS, writing_folder

_NAME = "new"


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
    put_back(path)
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
        folders[:] = [name for name in folders if not OURS.fullmatch(name)]
        links = [name for name in folders if (Path(parent) / name).is_symlink()]
        for name in folders:
            if name not in links and not (there / name).exists():
                (there / name).mkdir()
        for name in (*files, *links):
            source, target = Path(parent) / name, there / name
            if os.path.lexists(target) or OURS.fullmatch(name):
                continue
            try:
                os.link(source, target, follow_symlinks=False)
            except (OSError, NotImplementedError):  # A file system without hard links.
                shutil.copy2(source, target, follow_symlinks=False)


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
                remove(old)
        for name in [name for name in folders if (here / name).is_symlink()]:
            folders.remove(name)
            files.append(name)
        for name in folders:
            (there / name).mkdir(exist_ok=True)
        for name in files:
            os.replace(here / name, there / name)
