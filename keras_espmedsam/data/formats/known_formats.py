"""The available file formats: those of this package, and those that other packages add."""

import warnings
from typing import Any

from keras_espmedsam.data.formats.file_format import HEAD_BYTES, FileFormat
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.registries.file_formats import file_formats

_OURS = __name__.partition(".")[0]
# By name: the class and its instance.
_made: dict[str, tuple[Any, FileFormat]] = {}
# Names, formats and suffixes, cached while no other package adds any: every file of a folder
# needs them.
_kept: list[tuple] = [((), (), ())]
_told: set[str] = set()


def known_formats() -> tuple[FileFormat, ...]:
    """Return all file formats, in the order in which they are tried on a file.

    A format of another package that cannot be used is left out, with one warning.

    Warns:
        InputWarning: for a format that cannot be used.

    Example:
        >>> [one.name for one in known_formats()][-1]
        'raster image'
    """
    names = file_formats.names()
    if names == _kept[0][0]:
        return _kept[0][1]
    found = []
    for name in reversed(names):
        try:
            found.append(get_format(name))
        except InputError as error:
            if str(error) not in _told:
                _told.add(str(error))
                warnings.warn(f"{error} Until then it is left out.", InputWarning, stacklevel=2)
    if len(found) == len(names) and all(_is_ours(type(one)) for one in found):
        _kept[0] = (names, tuple(found), _suffixes(found))
        return _kept[0][1]
    return tuple(found)


def get_format(name: str) -> FileFormat:
    """Return a file format by its name in `keras_espmedsam.registries.file_formats`.

    Args:
        name: such as `"nifti"`.

    Raises:
        InputError: when the name is unknown, or does not stand for a file format.

    Example:
        >>> get_format("nifti").suffixes
        ('.nii', '.nii.gz')
    """
    # A format of another package may be redefined, in a notebook, so it is loaded each time.
    made = _made.get(name)
    if made is None or not _is_ours(made[0]):
        target = file_formats.load(name)
        if made is None or made[0] is not target:
            made = _made[name] = (target, _checked(name, target))
    return made[1]


def image_suffixes() -> tuple[str, ...]:
    """Return the suffixes of files that can be read, in lower case.

    Example:
        >>> ".nii.gz" in image_suffixes()
        True
    """
    formats = known_formats()
    return _kept[0][2] if formats is _kept[0][1] else _suffixes(formats)


def _suffixes(formats):
    return tuple(dict.fromkeys(suffix for one in formats for suffix in one.suffixes))


def _is_ours(target):
    return target.__module__.partition(".")[0] == _OURS


def _checked(name, target):
    wrong = None
    if not (isinstance(target, type) and issubclass(target, FileFormat)):
        wrong = f"it is {target!r}"
    elif not (isinstance(getattr(target, "name", None), str) and target.name):
        wrong = "it has no name"
    elif not _endings(getattr(target, "suffixes", None)) or not target.suffixes:
        wrong = (
            "its suffixes are not a tuple of lower-case endings that start with a point, such as "
            "('.npy',)"
        )
    elif not _endings(target.mask_suffixes):
        wrong = "its mask_suffixes are not a tuple of lower-case endings, such as ('.npy',)"
    elif not _signatures(target.signatures):
        wrong = (
            f"its signatures are not (offset, bytes) pairs within the first {HEAD_BYTES} bytes, "
            "such as ((0, b'NUMPY'),)"
        )
    if wrong is None:
        try:
            return target()
        except Exception as error:
            wrong = f"it cannot be created without arguments ({type(error).__name__}: {error})"
    raise InputError(
        f"The file format {name!r} of another package cannot be used: {wrong}. Expected a class "
        "derived from keras_espmedsam.data.FileFormat; fix or remove that package."
    )


def _endings(suffixes):
    return isinstance(suffixes, tuple) and all(
        isinstance(one, str) and len(one) > 1 and one[0] == "." and one == one.lower()
        for one in suffixes
    )


def _signatures(signatures):
    try:
        return isinstance(signatures, tuple) and all(
            isinstance(magic, bytes) and magic and 0 <= start and start + len(magic) <= HEAD_BYTES
            for start, magic in signatures
        )
    except (TypeError, ValueError):
        return False
