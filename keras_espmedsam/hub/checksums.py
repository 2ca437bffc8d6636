"""Checksums of a preset's files, to detect damage and changes."""

import hashlib
import os
import pathlib
import re

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam.errors import InputError

CHECKSUMS_FILE = "SHA256SUMS"
LOADED_CONFIGS = ("config.json", "task.json", "preprocessor.json", "image_converter.json")
"""The files that describe the model and its preprocessing; they are read on loading."""
_LOADED_WEIGHTS = (".weights.h5", "model.weights.json")
_MAX_BYTES = 2**20


def write_checksums(folder: str | os.PathLike) -> None:
    """Write the checksums of a preset to `SHA256SUMS`, in the format of `sha256sum --check`.

    Args:
        folder: path of the preset. Its README is not included.
    """
    folder = pathlib.Path(folder)
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in _files(folder)]
    with atomic_path(folder / CHECKSUMS_FILE) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def check_checksums(folder: str | os.PathLike, weights: bool = True) -> None:
    """Compare a preset's files with its `SHA256SUMS`; do nothing if it has no such file.

    Args:
        folder: path of the preset.
        weights: bool. Whether the weights are compared too.

    Raises:
        InputError: for the first file that is missing or has changed, an invalid list, and a file
            that would be loaded but is not listed.
    """
    folder = pathlib.Path(folder)
    if not (folder / CHECKSUMS_FILE).is_file():
        return
    listed = _read_list(folder)
    for name, expected in listed.items():
        if name.endswith(".h5") and not weights:
            continue
        if not (folder / name).is_file():
            raise InputError(
                f"The preset {folder} lacks the file {shown(name)}, which is listed in its "
                f"{CHECKSUMS_FILE}; install, download or save it again."
            )
        found = file_sha256(folder / name)
        if found != expected:
            raise InputError(
                f"The file {shown(name)} of the preset {folder} is damaged or changed: its "
                f"SHA-256 is {found[:12]}..., expected {shown(expected[:12])}.... Install, "
                f"download or save it again; if it was changed on purpose, remove "
                f"{CHECKSUMS_FILE}."
            )
    unlisted = [name for name in unlisted_files(folder) if _is_loaded(name)]
    if unlisted:
        raise InputError(
            f"The {CHECKSUMS_FILE} of the preset {folder} does not name {shown(unlisted[0])}, "
            "which would be loaded, so changes to it cannot be detected. Install, download or "
            f"save the preset again; if you trust it, remove {CHECKSUMS_FILE}."
        )


def file_sha256(path: str | os.PathLike) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits.

    Args:
        path: the file.

    Example:
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "empty")
        >>> _ = open(path, "w").write("")
        >>> file_sha256(path)[:12]
        'e3b0c44298fc'
    """
    with pathlib.Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def unlisted_files(folder: str | os.PathLike) -> list[str]:
    """Return the files of a preset that should be in its `SHA256SUMS` but are not.

    Args:
        folder: path of the preset.

    Returns:
        Names relative to the folder, in order; all of them if there is no `SHA256SUMS`.

    Raises:
        InputError: for an invalid list.

    Example:
        >>> unlisted_files(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256")
        []
    """
    folder = pathlib.Path(folder)
    listed = _read_list(folder) if (folder / CHECKSUMS_FILE).is_file() else {}
    return [name for name in _files(folder) if name not in listed]


def _files(folder):
    return sorted(
        path.relative_to(folder).as_posix()
        for pattern in ("**/*.json", "**/*.h5")
        for path in folder.glob(pattern)
    )


def _is_loaded(name):
    return name in LOADED_CONFIGS or ("/" not in name and name.endswith(_LOADED_WEIGHTS))


def _read_list(folder):
    """Read names and checksums; the list is not trusted and may name only files in its folder."""
    sums = folder / CHECKSUMS_FILE
    try:
        with sums.open("rb") as file:
            text = file.read(_MAX_BYTES + 1).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"The {CHECKSUMS_FILE} of the preset {folder} cannot be read "
            f"({getattr(error, 'strerror', None) or 'it is not UTF-8'}); install, download or "
            "save the preset again."
        ) from error
    if len(text) > _MAX_BYTES:
        raise InputError(
            f"The {CHECKSUMS_FILE} of the preset {folder} has more than {_MAX_BYTES >> 20} MiB; "
            "install, download or save the preset again."
        )
    listed: dict[str, str] = {}
    # Not splitlines(), which splits at more characters, some of which a name may contain.
    for line in filter(None, text.replace("\r\n", "\n").split("\n")):
        # Two spaces, or a space and the star that marks binary mode.
        found = re.fullmatch(r"(\S+) [ *](.+)", line, re.DOTALL)
        expected, name = found.groups() if found else ("", "")
        name = name.removeprefix("./")
        # Windows rules are the stricter ones: they cover paths of every system.
        parts = pathlib.PureWindowsPath(name)
        if not name or parts.drive or parts.root or ".." in parts.parts or "\0" in name:
            raise InputError(
                f"The {CHECKSUMS_FILE} of the preset {folder} has the line {shown_value(line)}; "
                "expected a SHA-256, two spaces and the name of a file in that folder. Install, "
                "download or save the preset again."
            )
        if listed.setdefault(name, expected.lower()) != expected.lower():
            raise InputError(
                f"The {CHECKSUMS_FILE} of the preset {folder} names {shown(name)} twice, with "
                "two checksums; install, download or save the preset again."
            )
    return listed
