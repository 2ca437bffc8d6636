"""Segment the files that arrive in a folder, such as those of a C-STORE receiver."""

import dataclasses
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from keras_espmedsam._files import atomic_path
from keras_espmedsam.archive.segment_file import FileSegmenter
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.errors import InputError, NoImageError

STATE_FILE = ".espmedsam-watch.json"
"""The file in the output folder that notes what is done."""
DONE, FAILED, SKIPPED = "done", "failed", "skipped"
# What receivers, browsers and copying programs call files that are not complete.
_UNFINISHED = (".part", ".partial", ".tmp", ".crdownload", ".filepart")


class _Stamp(NamedTuple):
    """What tells a file from a changed one."""

    size: int
    modified: int


@dataclasses.dataclass(frozen=True)
class Arrival:
    """What became of a file.

    Args:
        path: the file.
        state: `"done"`, `"failed"` or `"skipped"` (it holds no image).
        written: its results.
        error: why it failed; None otherwise.

    Example:
        >>> Arrival(Path("received/1.dcm"), "skipped").written
        ()
    """

    path: Path
    state: str
    written: tuple[Path, ...] = ()
    error: InputError | None = None


def watch_folder(
    folder: Path,
    output: Path,
    segmenter: FileSegmenter,
    seconds: float = 2,
    once: bool = False,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Arrival]:
    """Segment each file of a folder once it is complete, as they arrive.

    A file is complete when its size and time are the same in two looks, `seconds` apart; hidden
    files and those named like unfinished ones (`.part`, `.tmp`) wait until they are renamed. What
    is done is noted in the output folder after each file: a stopped program goes on where it was. A
    file that changes later is segmented again. Results lie in the same subfolders as the files.

    Args:
        folder: the folder, with its subfolders.
        output: the folder for results.
        segmenter: what segments the files.
        seconds: the time between two looks.
        once: whether to end when all files that are there are done.
        wait: called with `seconds` between two looks.

    Yields:
        `Arrival` of each file that is done.

    Raises:
        InputError: when the folder does not exist, is the output folder or above it, or the note
            cannot be read or written.
    """
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist; create it first.")
    inside = os.path.realpath(output), os.path.realpath(folder)
    if os.path.commonpath(inside) == inside[1]:
        raise InputError(
            f"The output {output} is in the watched folder {folder}; choose one outside of it."
        )
    state = _read_state(output)
    seen: dict[Path, _Stamp] = {}
    while True:
        now = _files(folder)
        new = {path: at for path, at in now.items() if state.get(_key(path, folder)) != at}
        complete = [path for path, at in sorted(new.items()) if seen.get(path) == at]
        for path in complete:
            arrival = _segmented(path, output / path.relative_to(folder).parent, segmenter)
            state[_key(path, folder)] = new[path]
            _write_state(output, state)
            yield arrival
        if once and not set(new) - set(complete):
            return
        seen = now
        wait(seconds)


def _segmented(path: Path, output: Path, segmenter: FileSegmenter) -> Arrival:
    if file_kind(path).format is None:
        return Arrival(path, SKIPPED)
    try:
        return Arrival(path, DONE, tuple(segmenter.segment(path, output, overwrite=True)))
    except NoImageError:
        return Arrival(path, SKIPPED)
    except InputError as error:
        return Arrival(path, FAILED, error=error)


def _files(folder: Path) -> dict[Path, _Stamp]:
    found = {}
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in names:
            if name.startswith(".") or name.lower().endswith(_UNFINISHED):
                continue
            path = Path(parent) / name
            try:
                status = path.stat()
            except OSError:  # It was removed meanwhile.
                continue
            if status.st_size and path.is_file():
                found[path] = _Stamp(status.st_size, status.st_mtime_ns)
    return found


def _key(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _read_state(output: Path) -> dict[str, _Stamp]:
    path = output / STATE_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"The note of what is done, {path}, cannot be read; remove it.") from error
    try:
        return {str(name): _Stamp(*map(int, stamp)) for name, stamp in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"The note of what is done, {path}, is damaged; remove it to segment all files again."
        ) from error


def _write_state(output: Path, state: dict[str, _Stamp]) -> None:
    try:
        with atomic_path(output / STATE_FILE) as temporary:
            temporary.write_text(json.dumps(state, indent=0), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"The note of what is done cannot be written to {output}: {error.strerror}."
        ) from error
