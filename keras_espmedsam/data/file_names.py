"""The names of files: without their suffixes, and however Unicode writes their accents."""

import os
import unicodedata
from pathlib import Path

from keras_espmedsam.data.formats.known_formats import image_suffixes


def normal_name(name: str) -> str:
    r"""A file's name with its accents composed, for comparing.

    macOS writes the accents of file names as characters of their own (decomposed), most other
    programs write a letter with its accent as one character.

    Args:
        name: the name, or a part of it.

    Example:
        >>> normal_name("Mu\u0308ller") == "M\u00fcller"
        True

    Source: ours; the forms are those of Unicode Standard Annex 15.
    """
    return unicodedata.normalize("NFC", name)


def find_file(folder: Path, name: str) -> Path:
    r"""The file of a folder that is called so, also where only its accents are written otherwise.

    Args:
        folder: what `name` is relative to.
        name: a path, with or without folders in it.

    Returns:
        The path as it is on disk, or, where there is no such file, as it was received.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "e\u0301.png").touch()
        >>> find_file(folder, "\u00e9.png").exists()
        True

    Source: ours.
    """
    wanted = folder / name
    if os.path.isfile(wanted) or name.isascii():
        return wanted
    found = folder
    for part in Path(name).parts:
        step = found / part
        if not os.path.exists(step) and not part.isascii() and os.path.isdir(found):
            normal = normal_name(part)
            same = [path for path in found.iterdir() if normal_name(path.name) == normal]
            step = same[0] if same else step
        found = step
    return found if os.path.isfile(found) else wanted


def file_stem(path: Path) -> str:
    """The name of a file without its suffix; `.nii.gz` counts as one suffix, and a number as none.

    So does any suffix of several parts of a file format (`FileFormat.suffixes`).

    A number behind a point belongs to the name: of a DICOM file that is called by its UID, or
    that is one of a series.

    Args:
        path: the file.

    Returns:
        The name, its accents composed: file systems write them in one way or the other.

    Example:
        >>> file_stem(Path("folder/brain.nii.gz")), file_stem(Path("a.b.png"))
        ('brain', 'a.b')
        >>> file_stem(Path("1.2.840.10008.17"))
        '1.2.840.10008.17'

    Source: ours.
    """
    name, found = path.name.lower(), ""
    if name.count(".") > 1:
        suffixes = image_suffixes()
        *starts, _ = (i for i, letter in enumerate(name) if letter == ".")
        found = next((name[i:] for i in starts if name[i:] in suffixes), "")
    if found:
        stem = path.name[: -len(found)]
    else:
        stem = path.name if path.suffix[1:].isdigit() else path.stem
    return normal_name(stem)
