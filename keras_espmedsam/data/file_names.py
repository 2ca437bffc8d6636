"""File names that are the same to the eye, and differ in how Unicode writes their accents."""

import unicodedata
from pathlib import Path


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
    if wanted.is_file() or name.isascii():
        return wanted
    found = folder
    for part in Path(name).parts:
        step = found / part
        if not step.exists() and not part.isascii() and found.is_dir():
            normal = normal_name(part)
            same = [path for path in found.iterdir() if normal_name(path.name) == normal]
            step = same[0] if same else step
        found = step
    return found if found.is_file() else wanted
