"""Match each mask to its image by name."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from keras_espmedsam.data.file_names import file_stem, normal_name
from keras_espmedsam.errors import InputError

IMAGES, MASKS = "images", "masks"
"""The folders of images and of masks."""
MASK_WORDS = (
    *("mask", "masks", "segmentation", "seg", "label", "labels", "gt", "groundtruth"),
    *("annotation", "manual"),
)
"""Words that may follow the image's name in the mask's name, after `_`, `-`, `.` or a space."""

_WORD_BEHIND = re.compile(rf"[-_. ](?:{'|'.join(MASK_WORDS)})$", re.IGNORECASE)
# As in BUSI's `benign (1)_mask_1.png`, and `7_seg0.png` or `7 mask (2).png`.
_NUMBERED_WORD_BEHIND = re.compile(
    rf"[-_. ](?:{'|'.join(MASK_WORDS)})[-_. ]?\(?\d{{1,4}}\)?$", re.IGNORECASE
)


def pair_by_stem(
    images: Sequence[Path],
    masks: Sequence[Path],
    where: Path,
    merge: bool = False,
    target: str = "",
) -> list[tuple[Path, ...]]:
    """Pair images with masks of the same name, or the same name followed by a mask word.

    Args:
        images: the images.
        masks: the masks.
        where: the folder, for the message.
        merge: whether an image may have several masks.
        target: see `masks_by_stem`.

    Returns:
        Tuples of an image and its mask or masks, in the order of the images.

    Raises:
        InputError: when a file has no partner, or two files share one.

    Example:
        >>> pair_by_stem([Path("7.jpg")], [Path("7-Segmentation.png")], Path("."))[0][1].name
        '7-Segmentation.png'
    """
    by_stem, lonely = masks_by_stem(images, masks, target)
    bare = [image for image in images if not by_stem[file_stem(image)]]
    problems = []
    if bare:
        problems.append(f"{counted(bare, 'image')} without a mask ({listed_names(bare)})")
    if lonely:
        problems.append(f"{counted(lonely, 'mask')} without an image ({listed_names(lonely)})")
    several = [found for found in by_stem.values() if len(found) > 1 and not merge]
    if several:
        shared = [mask for found in several for mask in found]
        problems.append(f"several masks of one image ({listed_names(shared)})")
    stems = Counter(file_stem(image) for image in images)
    twins = [image for image in images if stems[file_stem(image)] > 1]
    if twins:
        problems.append(f"images that differ only in their suffix ({listed_names(twins)})")
    if problems:
        advice = (
            " If all masks of an image show the same kind of object, give merge_masks=True "
            "(merge_masks: true in a configuration) to combine them; otherwise keep one."
        )
        raise InputError(
            f"{where} holds {' and '.join(problems)}; expected one mask for each image, with the "
            f"image's name, or that name followed by a word such as _mask.{advice * bool(several)}"
        )
    return [(image, *by_stem[file_stem(image)]) for image in images]


def masks_by_stem(
    images: Sequence[Path], masks: Sequence[Path], target: str = ""
) -> tuple[dict[str, list[Path]], list[Path]]:
    """Match masks to images by name.

    Args:
        images: the images.
        masks: the masks.
        target: a name that follows the image's in those of the masks, as in `7_vessels.png` or
            `7_vessels_mask.png`; others are not matched. Empty for none.

    Returns:
        The masks by the image's name without suffix (see `file_stem`); and the unmatched masks.

    Example:
        >>> masks_by_stem([Path("7.jpg")], [Path("7_mask_1.png"), Path("8.png")])[1][0].name
        '8.png'
    """
    by_stem: dict[str, list[Path]] = {file_stem(image): [] for image in images}
    lonely: list[Path] = []
    for mask in masks:
        stem = file_stem(mask)
        folder = mask.parent.parent if mask.parent.name == MASKS else mask.parent
        names: tuple[str, ...] = (
            stem,
            _WORD_BEHIND.sub("", stem),
            _NUMBERED_WORD_BEHIND.sub("", stem),
            normal_name(folder.name),
        )
        if target:
            behind = re.compile(rf"[-_. ]{re.escape(target)}$", re.IGNORECASE)
            names = tuple(behind.sub("", name) for name in names[:3] if behind.search(name))
        found = next((by_stem[name] for name in names if name in by_stem), lonely)
        found.append(mask)
    return by_stem, lonely


def named_by_word(stem: str, stems: Collection[str]) -> bool:
    """Return whether a file beside images is a mask; a numbered one is only if its image exists.

    Args:
        stem: the file's name without suffix.
        stems: those of all files beside it.
    """
    return bool(_WORD_BEHIND.search(stem)) or (
        bool(_NUMBERED_WORD_BEHIND.search(stem)) and _NUMBERED_WORD_BEHIND.sub("", stem) in stems
    )


def counted(paths: Collection[Path], noun: str) -> str:
    """Return a number with its noun, such as `2 images`."""
    return f"{len(paths)} {noun}{'s' * (len(paths) > 1)}"


def listed_names(paths: Sequence[Path], most: int = 5) -> str:
    """Return the names of the first files."""
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(path.name for path in paths[:most]) + more
