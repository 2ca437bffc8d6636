"""The checksums of a preset's files: what was saved is what is loaded."""

import hashlib
import os
import pathlib

from keras_espmedsam._files import atomic_path
from keras_espmedsam.errors import InputError

CHECKSUMS_FILE = "SHA256SUMS"


def write_checksums(folder: str | os.PathLike) -> None:
    """Write `SHA256SUMS` of a preset's files, as `sha256sum --check` reads it.

    Args:
        folder: path of the preset. Its README is not counted: it says what the files are.

    Source: ours; the format is that of coreutils.
    """
    folder = pathlib.Path(folder)
    files = sorted(
        path.relative_to(folder).as_posix()
        for pattern in ("**/*.json", "**/*.h5")
        for path in folder.glob(pattern)
    )
    lines = [f"{_sha256(folder / name)}  {name}\n" for name in files]
    with atomic_path(folder / CHECKSUMS_FILE) as temporary:
        temporary.write_text("".join(lines), encoding="utf-8", newline="\n")


def check_checksums(folder: str | os.PathLike, weights: bool = True) -> None:
    """Compare a preset's files with its `SHA256SUMS`; without that file nothing is done.

    Args:
        folder: path of the preset.
        weights: bool. Whether the weights are compared too.

    Raises:
        InputError: for the first file that is missing or other than what was saved.

    Source: ours.
    """
    folder = pathlib.Path(folder)
    sums = folder / CHECKSUMS_FILE
    if not sums.is_file():
        return
    for line in sums.read_text(encoding="utf-8").splitlines():
        expected, _, name = line.partition("  ")
        if name.endswith(".h5") and not weights:
            continue
        if not (folder / name).is_file():
            raise InputError(
                f"The preset {folder} lacks the file {name}, which its {CHECKSUMS_FILE} names; "
                "install, download or save it again."
            )
        found = _sha256(folder / name)
        if found != expected:
            raise InputError(
                f"The file {name} of the preset {folder} is damaged or changed: its SHA-256 is "
                f"{found[:12]}..., expected {expected[:12]}.... Install, download or save it "
                f"again; if it was changed on purpose, remove {CHECKSUMS_FILE}."
            )


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
