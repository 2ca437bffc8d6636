"""A folder in which JAX keeps what it has compiled, so that the next process need not compile."""

import importlib
import os
import re
import sys
import tempfile
import time
import zlib
from pathlib import Path

from keras_espmedsam._startup import choose_backend
from keras_espmedsam.errors import InputError, warn_of_input

OFF = "off"
"""In place of a folder: keep nothing."""

MAX_BYTES = 2 * 2**30
"""What the folder may hold when a process begins: what was used last stays."""

FOLDER_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
"""JAX's own setting, which a user may have made."""

_LEAST_SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

# The names of JAX's files, so that no other file is ever removed.
_ENTRY = re.compile(r".+-[0-9a-f]{64}-cache")

# Its time is that of the last check. A file younger than this may still be in the making.
_CHECKED, _YOUNG = ".checked", 60.0

_OTHER_BACKENDS = {
    "tensorflow": "it keeps nothing: each process compiles anew",
    "torch": "it compiles nothing here",
}


def compile_cache(folder: str | os.PathLike | None = None) -> Path | None:
    """Keep what JAX compiles in a folder, so that the next process starts at once.

    One line at the top of a notebook or script, before or after JAX is imported; the commands do
    it by themselves (`--compile-cache`). The folder holds at most 2 GiB when a process begins:
    what was used longest ago is removed, and so is what a killed process left half written. It
    holds programs that are run, so only you should be able to write to it.

    Args:
        folder: where; made if it does not exist. `None` is the folder that JAX was told already
            (`JAX_COMPILATION_CACHE_DIR`, `jax.config`), or else `keras-espmedsam/jax` in the
            user's cache (`XDG_CACHE_HOME`, or `~/.cache`). `"off"` keeps nothing.

    Returns:
        The folder. `None` when nothing is kept: for `"off"`, and where Keras does not run on JAX,
        which an `InputWarning` says.

    Raises:
        InputError: for what is no folder, or one that cannot be written to.

    Example:
        >>> folder = kem.compile_cache()  # None where Keras does not run on JAX

    Source: JAX's persistent compilation cache; its bound and its care are ours.
    """
    if folder == OFF:
        _tell_jax(None)
        return None
    backend = choose_backend()
    if backend != "jax":
        reason = _OTHER_BACKENDS.get(backend, "JAX alone keeps something")
        warn_of_input(f"Nothing compiled is kept: Keras runs on {backend}, and {reason}.", 2)
        return None
    if folder is None:
        folder = users_own() or default_folder()
    path = _made(folder)
    _tend(path)
    _tell_jax(path)
    return path


def users_own() -> str | None:
    """The folder that JAX was told already, by its environment variable or its configuration.

    Source: ours.
    """
    if "jax" in sys.modules:  # It has read the variable, too.
        return importlib.import_module("jax").config.jax_compilation_cache_dir or None
    return os.environ.get(FOLDER_VARIABLE) or None


def default_folder() -> Path:
    """The folder in the user's cache.

    Raises:
        InputError: where the user has no home.

    Source: ours.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise InputError(
            f"There is no home directory to keep compiled programs in; give a folder, or {OFF!r}."
        ) from error
    return cache / "keras-espmedsam" / "jax"


def _made(folder: str | os.PathLike) -> Path:
    """The folder, which exists and can be written to."""
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise InputError(
            f"Received {folder!r} to keep compiled programs in; expected a folder, or {OFF!r}."
        )
    name = os.fsdecode(folder)
    if "://" in name:
        raise InputError(
            f"Received {name} to keep compiled programs in; expected a folder of this computer, or "
            f"{OFF!r}. For an address set JAX's own {FOLDER_VARIABLE}."
        )
    path = Path(name)
    try:
        path = path.expanduser().absolute()
        name.encode()  # JAX takes names of Unicode alone.
        # What is in it is run, so it is the user's alone.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except (OSError, ValueError, RuntimeError) as error:  # The latter of names and of `~nobody`.
        raise InputError(
            f"Compiled programs cannot be kept in {_shown(name)} ({_why(error)}); give a folder "
            f"that can be written to, or {OFF!r}."
        ) from error
    return path


def _why(error: Exception) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "it is no folder"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "there is no such home" if isinstance(error, RuntimeError) else "it is no name of one"


def _shown(name: str) -> str:
    """A name as it can be printed anywhere, in part where it is long."""
    shown = name if name.isprintable() else ascii(name)
    return shown if len(shown) <= 300 else f"{shown[:300]}..."


def _tend(folder: Path) -> None:
    """Remove damaged entries, which JAX never writes anew, and those that are too many."""
    stamp = folder / _CHECKED
    now = time.time()
    try:
        checked = stamp.stat().st_mtime
    except OSError:
        checked = now  # A folder that has long been in use would take a minute to look through.
    kept, size = [], 0
    try:
        found = [entry for entry in os.scandir(folder) if _is_entry(entry)]
        for entry in found:
            status = entry.stat()
            in_question = checked <= status.st_mtime < now - _YOUNG
            if in_question and not _is_whole(Path(entry.path)):
                _remove(Path(entry.path))
                continue
            # Reading is noted at most once a day on most disks, and on some never.
            used = max(status.st_atime, status.st_mtime)
            kept.append((used, status.st_size, Path(entry.path)))
            size += status.st_size
        for _, bytes_of_it, path in sorted(kept):
            if size <= MAX_BYTES:
                break
            _remove(path)
            size -= bytes_of_it
        stamp.touch()
        os.utime(stamp, (now - _YOUNG, now - _YOUNG))
    except OSError:
        pass  # Another process tends it at the same time, or it is on a disk with other rules.


def _is_entry(found: os.DirEntry[str]) -> bool:
    return _ENTRY.fullmatch(found.name) is not None and found.is_file(follow_symlinks=False)


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    if data and not data.startswith(b"\x78"):
        return True  # Not compressed with zlib but with zstandard, which only JAX may have.
    try:
        return bool(zlib.decompress(data))
    except zlib.error:
        return False


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    # JAX's note of when it was used, where a user has bounded the folder by JAX's own setting.
    path.with_name(path.name.removesuffix("-cache") + "-atime").unlink(missing_ok=True)


def _tell_jax(folder: Path | None) -> None:
    # For a JAX that is imported later, and for child processes.
    os.environ[FOLDER_VARIABLE] = "" if folder is None else str(folder)
    # A model is many small compilations besides the large one.
    least = float(os.environ.setdefault(_LEAST_SECONDS_VARIABLE, "0"))
    if "jax" not in sys.modules:
        return
    config = importlib.import_module("jax").config
    config.update("jax_compilation_cache_dir", None if folder is None else str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", least)
    # JAX goes on with the folder that it began with until it is told otherwise.
    importlib.import_module("jax.experimental.compilation_cache.compilation_cache").reset_cache()
