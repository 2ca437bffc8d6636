"""Folders of images and masks: which mask belongs to which image."""

import os
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from keras_espmedsam._renamed import old_attribute
from keras_espmedsam.data.file_names import file_stem, normal_name
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.formats.unread import READ_INSTEAD, described
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError, InputWarning

IMAGES, MASKS = "images", "masks"
MASK_WORDS = (
    *("mask", "masks", "segmentation", "seg", "label", "labels", "gt", "groundtruth"),
    *("annotation", "manual"),
)
"""Words that may follow the image's name in its mask's, after `_`, `-`, `.` or a space."""

_WORD_BEHIND = re.compile(rf"[-_. ](?:{'|'.join(MASK_WORDS)})$", re.IGNORECASE)
# As in BUSI's `benign (1)_mask_1.png`, and `7_seg0.png` or `7 mask (2).png`.
_NUMBERED_WORD_BEHIND = re.compile(
    rf"[-_. ](?:{'|'.join(MASK_WORDS)})[-_. ]?\(?\d{{1,4}}\)?$", re.IGNORECASE
)


def read_folder(
    folder: str | os.PathLike,
    modality: str = "",
    masks: str | os.PathLike | None = None,
    dataset: str | None = None,
    split: str = "train",
    group: str | None = None,
    labelled: bool = True,
    merge_masks: bool = False,
) -> list[Record]:
    """Find the images of a folder and their masks.

    Three layouts are known: `folder/images` and `folder/masks`; `folder/NAME/images` and
    `folder/NAME/masks`, where each NAME is a split; and images in `folder` (or `folder/images`)
    with their masks in the folder `masks`, which may be the same one. A mask is named as its
    image, or so with a word behind it, as in `7_mask.png` or `ISIC_7_segmentation.png`; the types
    of the two files may differ, and so may the way in which accents are written in their names.
    Hidden files, and those that are no images, are passed over.

    Several masks of one image have numbers behind that word, as in `7_mask_1.png`, or lie in a
    folder of the image's name (`masks/7/*.png`, or `7/images/7.png` and `7/masks/*.png`).

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
        merge_masks: True to take several masks of one image together: foreground is what any of
            them shows. Otherwise they are refused, because each may be another object.

    Returns:
        A `Record` per image file, sorted by name within each split.

    Raises:
        InputError: when there is no such layout, no image, a file that has no partner, several
            masks of an image without `merge_masks`, an image in whose name `group` is not found,
            or a `group` that is no expression.

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
    if not os.path.isdir(folder):
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
            pair_by_stem(images, partners, folder, merge_masks)
            if labelled
            else [(one, None) for one in images]
        )
        records += [
            Record(
                part, modality, name, image, mask, _group(image, group), other_masks=tuple(others)
            )
            for image, mask, *others in pairs
        ]
    if not records:
        raise InputError(f"The folder {folder} holds no image files; put images in it.")
    return records


def _parts(folder, masks, split, labelled):
    """Name, images and masks of each split."""
    inner = folder / IMAGES
    if masks is not None:
        masks = Path(masks)
        if not os.path.isdir(masks):
            raise InputError(f"The folder of masks {masks} does not exist; check the path.")
        images = image_files(inner if inner.is_dir() else folder)
        partners = image_files(masks)
        if partners == images:
            stems = {file_stem(path) for path in images}
            partners = [path for path in images if _named_by_word(file_stem(path), stems)]
            images = [path for path in images if path not in set(partners)]
        return [(split, images, [*partners, *_in_folders_of(images, masks)])]
    if inner.is_dir():
        found = [(split, folder)]
    else:
        found = [(path.name, path) for path in sorted(folder.iterdir()) if (path / IMAGES).is_dir()]
    if not labelled:
        if not found:
            return [(split, image_files(folder, recursive=True), [])]
        return [(part, image_files(path / IMAGES), []) for part, path in found]
    lacking = [str(path / MASKS) for _, path in found if not (path / MASKS).is_dir()]
    if lacking or not found:
        raise InputError(
            f"The folder {folder} lacks {', '.join(lacking) or f'a folder named {IMAGES}'}; "
            f"expected {IMAGES} and {MASKS} in it, or in a folder per split, or the folder of the "
            "masks as `masks` (--masks)."
        )
    parts = []
    for part, path in found:
        images = image_files(path / IMAGES)
        inside = _in_folders_of(images, path / MASKS)
        parts.append((part, images, [*image_files(path / MASKS), *inside]))
    if all(_is_folder_of_one_image(part, *files) for part, *files in parts):
        images, partners = ([file for part in parts for file in part[i]] for i in (1, 2))
        return [(split, images, partners)]
    return parts


def _named_by_word(stem, stems):
    """Whether a file beside images is a mask; with a number it is one if its image is there."""
    return bool(_WORD_BEHIND.search(stem)) or (
        bool(_NUMBERED_WORD_BEHIND.search(stem)) and _NUMBERED_WORD_BEHIND.sub("", stem) in stems
    )


def _in_folders_of(images, masks):
    """The masks in folders that are called as an image: `masks/7/*.png`."""
    stems = {file_stem(image) for image in images}
    folders = sorted(path for path in masks.iterdir() if path.is_dir() and path.name[0] != ".")
    return [path for one in folders if normal_name(one.name) in stems for path in image_files(one)]


def _is_folder_of_one_image(name, images, masks):
    """Whether this is `7/images/7.png` with masks of any name, as in DSB 2018, and no split."""
    if [file_stem(image) for image in images] != [normal_name(name)]:
        return False
    by_stem, _ = masks_by_stem(images, [Path(mask.name) for mask in masks])
    return bool(masks) and not by_stem[normal_name(name)]


def image_files(folder: Path, recursive: bool = False) -> list[Path]:
    """The image files of a folder, sorted; hidden ones are passed over.

    Args:
        folder: an existing folder.
        recursive: whether the folders in it are searched as well.

    Raises:
        InputError: when the folder, or one in it, cannot be read.

    Warns:
        InputWarning: of images in formats that are not read, which are left out.

    Source: ours.
    """
    found, unread = [], {}
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable):
        folders[:] = sorted(n for n in folders if recursive and not n.startswith("."))
        paths = (Path(parent) / name for name in sorted(names) if not name.startswith("."))
        for path in paths:
            is_a = file_kind(path)
            if is_a.format:
                found.append(path)
            elif is_a.unread:
                unread[path] = is_a.unread
    if unread:
        warnings.warn(
            f"Left out {_count(unread, 'file')} of {folder} in formats that are not read "
            f"({described(unread)}); save them as {READ_INSTEAD}.",
            InputWarning,
            stacklevel=2,
        )
    return found


def _refuse_unreadable(error):
    """Of a folder that cannot be read, nobody knows what is missing in a training set."""
    raise InputError(
        f"The folder {error.filename} cannot be read: {error.strerror}. Make it readable, or take "
        "it away."
    ) from error


def pair_by_stem(
    images: Sequence[Path], masks: Sequence[Path], where: Path, merge: bool = False
) -> list[tuple[Path, ...]]:
    """Pair images with the masks of the same name, or the same with a word behind.

    Args:
        images: the images.
        masks: the masks.
        where: what is read, for the error.
        merge: whether an image may have several masks.

    Returns:
        An image and its mask, or masks, in the order of the images.

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
    several = [found for found in by_stem.values() if len(found) > 1 and not merge]
    if several:
        shared = [mask for found in several for mask in found]
        problems.append(f"several masks of one image ({_names(shared)})")
    stems = Counter(file_stem(image) for image in images)
    twins = [image for image in images if stems[file_stem(image)] > 1]
    if twins:
        problems.append(f"images that differ in their suffix alone ({_names(twins)})")
    if problems:
        advice = (
            " Where all masks of an image show the same kind of object, give merge_masks=True "
            "(merge_masks: true in a configuration) to take them together; otherwise keep one."
        )
        raise InputError(
            f"{where} holds {' and '.join(problems)}; expected one mask for each image, with the "
            f"image's name or that name and a word such as _mask behind it.{advice * bool(several)}"
        )
    return [(image, *by_stem[file_stem(image)]) for image in images]


def masks_by_stem(
    images: Sequence[Path], masks: Sequence[Path]
) -> tuple[dict[str, list[Path]], list[Path]]:
    """The masks of each image, by the image's name without suffix, and those of none.

    Args:
        images: the images.
        masks: the masks.

    Returns:
        The masks by the image's stem, with its accents composed (`normal_name`); and the rest.

    Example:
        >>> masks_by_stem([Path("7.jpg")], [Path("7_mask_1.png"), Path("8.png")])[1][0].name
        '8.png'

    Source: ours.
    """
    by_stem: dict[str, list[Path]] = {file_stem(image): [] for image in images}
    lonely: list[Path] = []
    for mask in masks:
        stem = file_stem(mask)
        folder = mask.parent.parent if mask.parent.name == MASKS else mask.parent
        names = (
            stem,
            _WORD_BEHIND.sub("", stem),
            _NUMBERED_WORD_BEHIND.sub("", stem),
            normal_name(folder.name),
        )
        found = next((by_stem[name] for name in names if name in by_stem), lonely)
        found.append(mask)
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


# Unseen by type checkers, so that they find a name that there is not.
if not TYPE_CHECKING:

    def __getattr__(name):
        return old_attribute(__name__, name)
