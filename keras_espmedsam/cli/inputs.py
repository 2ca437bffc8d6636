"""From what was typed to a list of files, and a name of its own for each."""

import glob
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from keras_espmedsam.data.file_kinds import file_stem
from keras_espmedsam.data.picture_names import PICTURE_SUFFIXES, is_picture_name
from keras_espmedsam.errors import InputError

_OURS = ("_mask", "_overlay")


def expand_inputs(arguments: Sequence[str], output: Path) -> tuple[list[Path], int]:
    """Find the files that are meant by paths, folders and patterns.

    A folder stands for the picture files in it and in its folders, except those whose names end
    in `_mask` or `_overlay` (masks beside their images, or an earlier run's results) and those in
    the output folder. Files without a suffix count when they are DICOM. A path that does not
    exist is kept, so that it is reported with the unreadable ones.

    Args:
        arguments: what was typed.
        output: the output folder.

    Returns:
        The files, sorted within each argument, each of them once; and how many were left out of
        folders because of their names.

    Raises:
        InputError: when a folder or a pattern holds no picture.

    Example:
        >>> expand_inputs(["missing.png"], Path("masks"))[0][0].name
        'missing.png'

    Source: ours.
    """
    files: dict[Path, Path] = {}
    skipped = 0
    for argument in arguments:
        path = Path(argument)
        if path.exists() or not glob.has_magic(argument):
            matches = [path]
        else:
            matches = [Path(name) for name in sorted(glob.glob(argument, recursive=True))]
            if not matches:
                raise InputError(f"No file matches the pattern {argument}; check it.")
        for match in matches:
            if match.is_dir():
                found, ours = _pictures_in(match, output)
                skipped += ours
                if not found and len(matches) == 1:
                    left_out = f" except {ours} named *_mask or *_overlay" if ours else ""
                    raise InputError(
                        f"The folder {match} holds no picture files{left_out}; expected some of "
                        f"{', '.join(PICTURE_SUFFIXES)}."
                    )
            else:
                found = [match]
            for file in found:
                files.setdefault(file.resolve(), file)
    return list(files.values()), skipped


def _pictures_in(folder: Path, output: Path) -> tuple[list[Path], int]:
    output = output.resolve()
    # Results may be written among the inputs; then only their names tell them apart.
    exclude_output = output != folder.resolve()
    found, skipped = [], 0
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if exclude_output:
            folders[:] = [name for name in folders if (here / name).resolve() != output]
        for name in sorted(names):
            path = here / name
            if name.startswith(".") or not is_picture_name(path):
                continue
            if file_stem(path).lower().endswith(_OURS):
                skipped += 1
            else:
                found.append(path)
    return found, skipped


def unique_names(paths: Sequence[Path]) -> list[str]:
    """A name for each file's results: its stem, with as much more as tells it from the others.

    Files of equal stems get the names of their folders in front, as many as it takes; those that
    lie in one folder get their suffix behind. Names that differ in case only count as equal,
    because they are one file on many computers.

    Args:
        paths: different files.

    Returns:
        One name per file, in order.

    Example:
        >>> unique_names([Path("a/1.png"), Path("b/1.png"), Path("b/2.png"), Path("b/2.jpg")])
        ['a_1', 'b_1', '2_png', '2_jpg']

    Source: ours.
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
