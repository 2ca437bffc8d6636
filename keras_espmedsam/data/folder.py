"""Folders of images and masks: which mask belongs to which image."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from keras_espmedsam.data.file_kinds import file_stem
from keras_espmedsam.data.picture_names import is_picture_name
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError

IMAGES, MASKS = "images", "masks"
MASK_WORDS = (
    *("mask", "masks", "segmentation", "seg", "label", "labels", "gt", "groundtruth"),
    *("annotation", "manual"),
)
"""Words that may follow the image's name in its mask's, after `_`, `-`, `.` or a space."""

_WORD_BEHIND = re.compile(rf"[-_. ](?:{'|'.join(MASK_WORDS)})$", re.IGNORECASE)


def read_folder(
    folder: str | os.PathLike,
    modality: str = "",
    masks: str | os.PathLike | None = None,
    dataset: str | None = None,
    split: str = "train",
    group: str | None = None,
    labelled: bool = True,
) -> list[Record]:
    """Find the images of a folder and their masks.

    Three layouts are known: `folder/images` and `folder/masks`; `folder/NAME/images` and
    `folder/NAME/masks`, where each NAME is a split; and images in `folder` (or `folder/images`)
    with their masks in the folder `masks`, which may be the same one. A mask is named as its
    image, or so with a word behind it, as in `7_mask.png` or `ISIC_7_segmentation.png`; the types
    of the two files may differ. Hidden files, and those that are no pictures, are passed over.

    Args:
        folder: the folder.
        modality: the modality of all its images; may be empty when `labelled` is False.
        masks: folder of the masks, when it is not beside the images.
        dataset: the data set's name; the folder's by default.
        split: the split of all images, where sub-folders do not say it.
        group: regular expression that finds in an image's name (without suffix) what must not be
            split further; its first parenthesis, or all that it matches. No groups by default.
        labelled: False for images without masks: those of `folder/images`, of
            `folder/NAME/images`, or else all in `folder` and its folders.

    Returns:
        A `Record` per image file, sorted by name within each split.

    Raises:
        InputError: when there is no such layout, no image, a file that has no partner, an image
            in whose name `group` is not found, or a `group` that is no expression.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("images/7.jpg", "masks/7_mask.png"):
        ...     (folder / name).parent.mkdir()
        ...     (folder / name).touch()
        >>> [(record.image.name, record.mask.name) for record in read_folder(folder, "fundus")]
        [('7.jpg', '7_mask.png')]

    Source: ours.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"The folder {folder} does not exist; check the path.")
    if labelled and not modality:
        raise InputError(
            f"Received no modality for the labelled images of {folder}; name one, such as "
            "'ultrasound'."
        )
    name = dataset or folder.resolve().name
    records = []
    for part, images, partners in _parts(folder, masks, split, labelled):
        pairs = (
            pair_by_stem(images, partners, folder) if labelled else [(one, None) for one in images]
        )
        records += [
            Record(part, modality, name, image, mask, _group(image, group)) for image, mask in pairs
        ]
    if not records:
        raise InputError(f"The folder {folder} holds no picture files; put images in it.")
    return records


def _parts(folder, masks, split, labelled):
    """Name, images and masks of each split."""
    inner = folder / IMAGES
    if masks is not None:
        masks = Path(masks)
        if not masks.is_dir():
            raise InputError(f"The folder of masks {masks} does not exist; check the path.")
        images = picture_files(inner if inner.is_dir() else folder)
        partners = picture_files(masks)
        if partners == images:
            partners = [path for path in images if _WORD_BEHIND.search(file_stem(path))]
            images = [path for path in images if path not in set(partners)]
        return [(split, images, partners)]
    if inner.is_dir():
        found = [(split, folder)]
    else:
        found = [(path.name, path) for path in sorted(folder.iterdir()) if (path / IMAGES).is_dir()]
    if not labelled:
        if not found:
            return [(split, picture_files(folder, recursive=True), [])]
        return [(part, picture_files(path / IMAGES), []) for part, path in found]
    lacking = [str(path / MASKS) for _, path in found if not (path / MASKS).is_dir()]
    if lacking or not found:
        raise InputError(
            f"The folder {folder} lacks {', '.join(lacking) or f'a folder named {IMAGES}'}; "
            f"expected {IMAGES} and {MASKS} in it, or in a folder per split, or the folder of the "
            "masks as `masks` (--masks)."
        )
    return [
        (part, picture_files(path / IMAGES), picture_files(path / MASKS)) for part, path in found
    ]


def picture_files(folder: Path, recursive: bool = False) -> list[Path]:
    """The picture files of a folder, sorted; hidden ones are passed over.

    Args:
        folder: an existing folder.
        recursive: whether the folders in it are searched as well.

    Source: ours.
    """
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(n for n in folders if recursive and not n.startswith("."))
        paths = (Path(parent) / name for name in sorted(names) if not name.startswith("."))
        found += [path for path in paths if is_picture_name(path)]
    return found


def pair_by_stem(
    images: Sequence[Path], masks: Sequence[Path], where: Path
) -> list[tuple[Path, Path]]:
    """Pair images with the masks of the same name, or the same with a word behind.

    Args:
        images: the images.
        masks: the masks.
        where: what is read, for the error.

    Returns:
        Pairs in the order of the images.

    Raises:
        InputError: when any file has no partner, or two have the same.

    Example:
        >>> pair_by_stem([Path("7.jpg")], [Path("7-Segmentation.png")], Path("."))[0][1].name
        '7-Segmentation.png'

    Source: ours.
    """
    by_stem, lonely = masks_by_stem(images, masks)
    bare = [image for image in images if not by_stem[file_stem(image)]]
    problems = []
    if bare:
        problems.append(f"{_count(bare, 'image')} without a mask ({_names(bare)})")
    if lonely:
        problems.append(f"{_count(lonely, 'mask')} without an image ({_names(lonely)})")
    shared = [mask for found in by_stem.values() if len(found) > 1 for mask in found]
    if shared:
        problems.append(f"several masks of one image ({_names(shared)})")
    stems = Counter(file_stem(image) for image in images)
    twins = [image for image in images if stems[file_stem(image)] > 1]
    if twins:
        problems.append(f"images that differ in their suffix alone ({_names(twins)})")
    if problems:
        raise InputError(
            f"{where} holds {' and '.join(problems)}; expected one mask for each image, with the "
            "image's name or that name and a word such as _mask behind it."
        )
    return [(image, by_stem[file_stem(image)][0]) for image in images]


def masks_by_stem(
    images: Sequence[Path], masks: Sequence[Path]
) -> tuple[dict[str, list[Path]], list[Path]]:
    """The masks of each image, by the image's name without suffix, and those of none.

    Args:
        images: the images.
        masks: the masks.

    Example:
        >>> masks_by_stem([Path("7.jpg")], [Path("7_mask.png"), Path("8.png")])[1][0].name
        '8.png'

    Source: ours.
    """
    by_stem: dict[str, list[Path]] = {file_stem(image): [] for image in images}
    lonely: list[Path] = []
    for mask in masks:
        stem = file_stem(mask)
        if stem not in by_stem:
            stem = _WORD_BEHIND.sub("", stem)
        by_stem.get(stem, lonely).append(mask)
    return by_stem, lonely


def _count(paths, noun):
    return f"{len(paths)} {noun}{'s' * (len(paths) > 1)}"


def _names(paths, most=5):
    more = f" and {len(paths) - most} more" if len(paths) > most else ""
    return ", ".join(path.name for path in paths[:most]) + more


def _group(image, expression):
    if expression is None:
        return ""
    try:
        found = re.search(expression, file_stem(image))
    except re.error as error:
        raise InputError(
            f"Received the group {expression!r}, which is no regular expression ({error}); "
            "expected one such as '^[^_]+'."
        ) from error
    if not found:
        raise InputError(
            f"The name of {image} does not match the group {expression!r}; expected an expression "
            "that finds in every image's name what must not be split further."
        )
    return found[1] if found.re.groups else found[0]
