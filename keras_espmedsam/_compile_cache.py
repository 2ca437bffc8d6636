"""A folder in which JAX stores compiled code, so that the next process starts faster."""

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
"""Give this instead of a folder to store nothing."""

MAX_BYTES = 2 * 2**30
"""The limit of the folder when a process starts; the least recently used files are removed."""

FOLDER_VARIABLE = "JAX_COMPILATION_CACHE_DIR"
"""JAX's own setting, which the user may have set."""

_LEAST_SECONDS_VARIABLE = "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"

# The names of JAX's files; no other file is ever removed.
_ENTRY = re.compile(r".+-[0-9a-f]{64}-cache")

# The time of this file is that of the last check. A file younger than this (in seconds) may still
# be being written.
_CHECKED, _YOUNG = ".checked", 60.0

_OTHER_BACKENDS = {
    "tensorflow": "it stores nothing: each process compiles again",
    "torch": "it does not compile here",
}


def compile_cache(folder: str | os.PathLike | None = None) -> Path | None:
    """Store JAX's compiled code in a folder, so that the next process starts faster.

    Call it at the top of a notebook or script, before or after JAX is imported; the commands do so
    themselves (`--compile-cache`). When a process starts, the folder is limited to 2 GiB: the least
    recently used files are removed, and so are half-written files of a killed process. The folder
    holds code that is executed, so only you should be able to write to it.

    Args:
        folder: the folder; created if it does not exist. `None` is the folder that JAX already uses
            (`JAX_COMPILATION_CACHE_DIR`, `jax.config`), or else `keras-espmedsam/jax` in the
            user's cache (`XDG_CACHE_HOME`, or `~/.cache`). `"off"` stores nothing.

    Returns:
        The folder. `None` when nothing is stored: for `"off"`, and if Keras does not run on JAX,
        with an `InputWarning`.

    Raises:
        InputError: when it is not a folder, or cannot be written.

    Example:
        >>> folder = kem.compile_cache()  # None if Keras does not run on JAX
    """
    if folder == OFF:
        _tell_jax(None)
        return None
    backend = choose_backend()
    if backend != "jax":
        reason = _OTHER_BACKENDS.get(backend, "only JAX stores compiled code")
        warn_of_input(f"No compiled code is stored: Keras runs on {backend}, and {reason}.", 2)
        return None
    if folder is None:
        folder = users_own() or default_folder()
    path = _made(folder)
    _tend(path)
    _tell_jax(path)
    return path


def users_own() -> str | None:
    """Return the folder that JAX already uses, from its environment variable or configuration."""
    if "jax" in sys.modules:  # JAX has read the variable already.
        return importlib.import_module("jax").config.jax_compilation_cache_dir or None
    return os.environ.get(FOLDER_VARIABLE) or None


def default_folder() -> Path:
    """Return the default folder, in the user's cache.

    Raises:
        InputError: when the user has no home directory.
    """
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError as error:
        raise InputError(
            f"There is no home directory to store compiled code in; give a folder, or {OFF!r}."
        ) from error
    return cache / "keras-espmedsam" / "jax"


def _made(folder: str | os.PathLike) -> Path:
    """Create the folder if needed, check that it can be written, and return it."""
    if not isinstance(folder, str | os.PathLike) or not os.fspath(folder):
        raise InputError(
            f"Received {folder!r} to store compiled code in; expected a folder, or {OFF!r}."
        )
    name = os.fsdecode(folder)
    if "://" in name:
        raise InputError(
            f"Received {name} to store compiled code in; expected a folder on this computer, or "
            f"{OFF!r}. For an address, set JAX's own {FOLDER_VARIABLE}."
        )
    path = Path(name)
    try:
        path = path.expanduser().absolute()
        name.encode()  # JAX accepts only valid Unicode.
        # Its content is executed, so only the user may have access.
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    # ValueError is from a bad name, and RuntimeError from `~nobody`.
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"Compiled code cannot be stored in {_shown(name)} ({_why(error)}); give a folder that "
            f"can be written, or {OFF!r}."
        ) from error
    return path


def _why(error: Exception) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "it is not a folder"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return "there is no such home" if isinstance(error, RuntimeError) else "it is not a valid name"


def _shown(name: str) -> str:
    """Return a printable form of a name, cut if it is long."""
    shown = name if name.isprintable() else ascii(name)
    return shown if len(shown) <= 300 else f"{shown[:300]}..."


def _tend(folder: Path) -> None:
    """Remove damaged entries, which JAX would not replace, and the oldest ones above the limit."""
    stamp = folder / _CHECKED
    now = time.time()
    try:
        checked = stamp.stat().st_mtime
    except OSError:
        checked = now  # Checking a folder that was used for long would take a minute.
    kept, size = [], 0
    try:
        found = [entry for entry in os.scandir(folder) if _is_entry(entry)]
        for entry in found:
            status = entry.stat()
            in_question = checked <= status.st_mtime < now - _YOUNG
            if in_question and not _is_whole(Path(entry.path)):
                _remove(Path(entry.path))
                continue
            # Most file systems update the access time at most once a day, and some never.
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
        pass  # Another process does the same, or the file system does not support it.


def _is_entry(found: os.DirEntry[str]) -> bool:
    return _ENTRY.fullmatch(found.name) is not None and found.is_file(follow_symlinks=False)


def _is_whole(path: Path) -> bool:
    data = path.read_bytes()
    if data and not data.startswith(b"\x78"):
        return True  # Compressed with zstandard, which may be installed only for JAX.
    try:
        return bool(zlib.decompress(data))
    except zlib.error:
        return False


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    # JAX's own record of the last use, if the user has limited the folder with JAX's setting.
    path.with_name(path.name.removesuffix("-cache") + "-atime").unlink(missing_ok=True)


def _tell_jax(folder: Path | None) -> None:
    # If JAX is imported later, and for child processes.
    os.environ[FOLDER_VARIABLE] = "" if folder is None else str(folder)
    # A model needs many small compilations besides the large one.
    least = float(os.environ.setdefault(_LEAST_SECONDS_VARIABLE, "0"))
    if "jax" not in sys.modules:
        return
    config = importlib.import_module("jax").config
    config.update("jax_compilation_cache_dir", None if folder is None else str(folder))
    config.update("jax_persistent_cache_min_compile_time_secs", least)
    # JAX keeps using its first folder until the cache is reset.
    importlib.import_module("jax.experimental.compilation_cache.compilation_cache").reset_cache()
