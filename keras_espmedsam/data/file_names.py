"""File names without their suffixes, and independent of how Unicode encodes accents."""

import os
import unicodedata
from pathlib import Path

from keras_espmedsam.data.formats.known_formats import image_suffixes


def normal_name(name: str) -> str:
    r"""Return a file's name with composed accents (Unicode NFC), for comparison.

    macOS stores accents as separate characters (decomposed); most other programs write a letter
    and its accent as one character.

    Args:
        name: the name, or a part of it.

    Example:
        >>> normal_name("Mu\u0308ller") == "M\u00fcller"
        True

    Source: Unicode Standard Annex 15.
    """
    return unicodedata.normalize("NFC", name)


def find_file(folder: Path, name: str) -> Path:
    r"""Find a file in a folder, even if its accents are encoded differently.

    Args:
        folder: the folder that `name` is relative to.
        name: a path, with or without folders in it.

    Returns:
        The path as it is on disk; if there is no such file, `folder / name`.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> (folder / "e\u0301.png").touch()
        >>> find_file(folder, "\u00e9.png").exists()
        True
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
    """Return the name of a file without its suffix.

    `.nii.gz`, and any other suffix of a file format (`FileFormat.suffixes`), counts as one suffix.
    A number after a point belongs to the name, because DICOM files are named by UIDs or numbered.

    Args:
        path: the file.

    Returns:
        The name, with composed accents (see `normal_name`).

    Example:
        >>> file_stem(Path("folder/brain.nii.gz")), file_stem(Path("a.b.png"))
        ('brain', 'a.b')
        >>> file_stem(Path("1.2.840.10008.17"))
        '1.2.840.10008.17'
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
