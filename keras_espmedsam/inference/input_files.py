"""Expand paths, folders and patterns to a list of files, and give each a unique name."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from keras_espmedsam.data.file_names import file_stem
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.formats.known_formats import image_suffixes
from keras_espmedsam.data.formats.unread import described
from keras_espmedsam.errors import InputError

_OURS = ("_mask", "_overlay", "_instances")
RESULT_NAMES = "*_mask, *_overlay or *_instances"
"""The names that tell results from images, for messages."""


class Inputs(NamedTuple):
    """The files that paths, folders and patterns stand for.

    Args:
        files: the files to read, each once.
        results: how many files in folders were skipped because they are named like results.
        unread: skipped files in folders that are images in an unsupported format, with its name.
        in_folders: those of `files` that were found in folders.
    """

    files: list[Path]
    results: int = 0
    unread: dict[Path, str] = {}
    in_folders: frozenset[Path] = frozenset()


def expand_inputs(
    paths: str | os.PathLike | Sequence[str | os.PathLike], output: str | os.PathLike | None = None
) -> Inputs:
    """Find the files that paths, folders and patterns stand for.

    A folder stands for the image files in it and its subfolders, except files whose names end in
    `_mask`, `_overlay` or `_instances` (masks beside their images, or an earlier run's results) and
    files in the output folder. Image files are recognised by their content, or else by their name.
    A path that does not exist is kept, so that it is reported with the unreadable ones.

    Args:
        paths: one or several. A pattern contains `*`, `?` or `[...]`; `**` matches any folders.
        output: the output folder, whose files are skipped; None if there is none.

    Returns:
        `Inputs`, the files sorted within each path.

    Raises:
        InputError: when a folder or a pattern holds no image, or a path is empty.

    Example:
        >>> expand_inputs("missing.png").files[0].name
        'missing.png'
    """
    files: dict[str, Path] = {}
    unread: dict[Path, str] = {}
    in_folders: set[Path] = set()
    results = 0
    for argument in [paths] if isinstance(paths, str | bytes | os.PathLike) else paths:
        argument = os.fsdecode(argument)
        if not argument.strip():
            raise InputError("Received an empty path; give a file, a folder or a pattern.")
        # Unlike the methods of Path, these raise nothing for odd paths.
        path = Path(argument)
        if os.path.exists(path) or not glob.has_magic(argument):
            matches = [path]
        else:
            matches = [Path(name) for name in sorted(glob.glob(argument, recursive=True))]
            if not matches:
                raise InputError(f"No file matches the pattern {argument}; check it.")
        for match in matches:
            found = Inputs([match])
            if os.path.isdir(match):
                found = _images_in(match, output)
                in_folders.update(found.files)
                results += found.results
                unread |= found.unread
                if not found.files and len(matches) == 1:
                    _refuse_empty(match, found)
            for file in found.files:
                files.setdefault(_real_path(file), file)
    return Inputs(list(files.values()), results, unread, frozenset(in_folders))


def _real_path(path: Path) -> str:
    try:
        return os.path.realpath(path)
    except (OSError, ValueError):  # Not a valid path, such as one with a zero byte.
        return os.fspath(path)


def _refuse_empty(folder, found):
    left_out = []
    if found.results:
        left_out.append(f"{found.results} named {RESULT_NAMES}")
    if found.unread:
        left_out.append(f"some in unsupported formats ({described(found.unread)})")
    except_those = f" except {' and '.join(left_out)}" if left_out else ""
    raise InputError(
        f"The folder {folder} holds no image files{except_those}; expected some of "
        f"{', '.join(image_suffixes())}."
    )


def _images_in(folder: Path, output: str | os.PathLike | None) -> Inputs:
    output = None if output is None else os.path.realpath(output)
    # If results are written among the inputs, only their names tell them apart.
    exclude_output = output is not None and output != os.path.realpath(folder)
    files, results, unread = [], 0, {}

    def keep_unreadable(error):
        files.append(Path(error.filename))  # It is reported like an unreadable file.

    for parent, folders, names in os.walk(folder, onerror=keep_unreadable):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if exclude_output:
            folders[:] = [name for name in folders if os.path.realpath(here / name) != output]
        for name in sorted(names):
            path = here / name
            if name.startswith("."):
                continue
            found = file_kind(path)
            if found.unread:
                unread[path] = found.unread
            elif found.format and file_stem(path).lower().endswith(_OURS):
                results += 1
            elif found.format:
                files.append(path)
    return Inputs(files, results, unread)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Name each file's results: its stem, made unique among the others.

    Files with the same stem get the names of their folders in front, as many as needed; if they
    are in the same folder, they get their suffix at the end. Names that differ only in case count
    as the same, because many computers store them as one file.

    Args:
        paths: different files.

    Returns:
        One name per file, in order.

    Example:
        >>> unique_names([Path("a/1.png"), Path("b/1.png"), Path("b/2.png"), Path("b/2.jpg")])
        ['a_1', 'b_1', '2_png', '2_jpg']
    """
    paths = [Path(os.path.abspath(path)) for path in paths]
    stems = [file_stem(path) for path in paths]
    beside = Counter(
        (path.parent, stem.casefold()) for path, stem in zip(paths, stems, strict=True)
    )
    stems = [
        stem + path.name[len(stem) :].replace(".", "_")
        if beside[path.parent, stem.casefold()] > 1
        else stem
        for path, stem in zip(paths, stems, strict=True)
    ]
    names = stems
    depths = [0] * len(paths)
    deepest = max((len(path.parts) for path in paths), default=0)
    for _ in range(deepest):
        names = [
            "_".join([*path.parts[1:-1][-depth:], stem] if depth else [stem])
            for path, stem, depth in zip(paths, stems, depths, strict=True)
        ]
        count = Counter(name.casefold() for name in names)
        clashes = [index for index, name in enumerate(names) if count[name.casefold()] > 1]
        if not clashes:
            break
        for index in clashes:
            depths[index] += 1
    return names
