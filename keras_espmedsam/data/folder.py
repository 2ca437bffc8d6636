"""Read folders of images and masks, and match each mask to its image."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keras_espmedsam._renamed import old_attribute
from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.file_names import file_stem, normal_name
from keras_espmedsam.data.folder_targets import (
    files_by_target,
    folder_of_instances,
    masks_in_folders,
    with_targets,
)
from keras_espmedsam.data.image_files import image_files
from keras_espmedsam.data.label_table import parse_labels
from keras_espmedsam.data.mask_names import IMAGES, MASKS, masks_by_stem, named_by_word
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.target_rows import (
    Chosen,
    Named,
    chosen_names,
    keep_targets,
    named_target,
)
from keras_espmedsam.errors import InputError

OBJECTS = "objects"
"""The value of `merge_masks` for a mask of each object."""


def read_folder(
    folder: str | os.PathLike,
    modality: str = "",
    masks: str | os.PathLike | None = None,
    dataset: str | None = None,
    split: str = "train",
    group: str | None = None,
    labelled: bool = True,
    merge_masks: bool | str = False,
    targets: Chosen | None = None,
    target: Named | None = None,
    labels: Mapping[Any, Any] | str | None = None,
    instances: str | os.PathLike | None = None,
) -> list[Record]:
    """Find the images of a folder and their masks.

    Three layouts are known: `folder/images` and `folder/masks`; `folder/NAME/images` and
    `folder/NAME/masks`, where each NAME is a split; and images in `folder` (or `folder/images`)
    with their masks in the folder `masks`, which may be the same one. A mask has the same name as
    its image, optionally followed by a word, as in `7_mask.png` or `ISIC_7_segmentation.png`; the
    file types may differ, and so may the encoding of accents. Hidden files and files that are not
    images are ignored.

    Several masks of one image have numbers after that word, as in `7_mask_1.png`, or are in a
    folder with the image's name (`masks/7/*.png`, or `7/images/7.png` and `7/masks/*.png`).

    Several targets have a folder each, as in `masks/vessels/7.png` and `masks/optic_disc/7.png`,
    if `targets` names them or there is nothing else in `masks`. Or their names are behind those of
    the images, as in `masks/7_vessels.png` and `masks/7_optic_disc_mask.png`, if `targets` names
    them. An image may lack some of them.

    Args:
        folder: the folder.
        modality: the modality of all its images; may be empty when `labelled` is False.
        masks: folder of the masks, if it is not beside the images.
        dataset: the data set's name; the folder's by default.
        split: the split of all images, if there are no folders for splits.
        group: regular expression that finds the group (a patient, a video) in an image's name
            without suffix: its first parenthesis, or the whole match. No groups by default.
        labelled: False for images without masks: those in `folder/images` or
            `folder/NAME/images`, or else all in `folder` and its subfolders.
        merge_masks: True to combine several masks of one image: a pixel is foreground if it is in
            any of them. `"objects"` does so, too, and takes each as one object, which gives the
            instances. Otherwise they are rejected, because each may be a different target.
        targets: the targets to keep, by name, or dict of modality to names; all by default.
        target: the target that all masks show; by default the modality's first.
        labels: the targets of the values of label images, such as `{1: "lungs", 2: "heart"}`; see
            `read_index`.
        instances: folder of images that number the objects of the masks from 1, with a folder for
            each target if the masks have one; or the name of such a folder beside `images`. They
            are the masks, too, if there are none.

    Returns:
        A `Record` per image file, sorted by name within each split.

    Raises:
        InputError: for an unknown layout, no images, a file without a partner, several masks of an
            image without `merge_masks`, an image whose name does not match `group`, a `group` that
            is not a regular expression, and names or labels of targets that are not allowed.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("images/7.jpg", "masks/7_mask.png"):
        ...     (folder / name).parent.mkdir()
        ...     (folder / name).touch()
        >>> [(record.image.name, record.mask.name) for record in read_folder(folder, "fundus")]
        [('7.jpg', '7_mask.png')]
    """
    folder = Path(folder)
    if not isinstance(merge_masks, bool) and merge_masks != OBJECTS:
        raise InputError(
            f"Received merge_masks={shown_value(merge_masks)}; expected True, False or '{OBJECTS}'."
        )
    if not os.path.isdir(folder):
        raise InputError(f"The folder {folder} does not exist; check the path.")
    if labelled and not modality:
        raise InputError(
            f"Received no modality for the labelled images of {folder}; name one, such as "
            "'ultrasound'."
        )
    name = dataset or folder.resolve().name
    table = parse_labels(labels) if labels is not None else None
    given = named_target(target, modality, labels)
    wanted = chosen_names(targets, modality)
    if labelled and instances is not None and masks is None and not _has_masks(folder):
        masks = folder_of_instances(instances, folder / IMAGES)
    records = []
    for part, images, partners, place in _parts(folder, masks, split, labelled):
        of = (part, modality, name)
        if not labelled:
            records += [Record(*of, image, None, _group(image, group)) for image in images]
            continue
        numbered = None if instances is None else folder_of_instances(instances, place)
        found = files_by_target(
            *(images, partners, place, folder),
            target=given,
            alike=bool(table or given),
            targets=wanted,
            merge=bool(merge_masks),
            instances=numbered,
        )
        for image, masks_of in found.items():
            record = Record(*of, image, None, _group(image, group))
            record = with_targets(record, masks_of, table, merge_masks == OBJECTS)
            records.append(record)
    if labelled:
        records = keep_targets(records, targets, f"the folder {folder}")
    if not records:
        raise InputError(f"The folder {folder} holds no image files; put images in it.")
    return records


def _has_masks(folder):
    return any(path.is_dir() for path in (folder / MASKS, *folder.glob(f"*/{MASKS}")))


def _parts(folder, masks, split, labelled):
    """Return name, images and masks of each split, and the folder of these masks."""
    inner = folder / IMAGES
    if masks is not None:
        masks = Path(masks)
        if not os.path.isdir(masks):
            raise InputError(f"The folder of masks {masks} does not exist; check the path.")
        images = image_files(inner if inner.is_dir() else folder)
        partners = image_files(masks)
        if partners == images:
            stems = {file_stem(path) for path in images}
            partners = [path for path in images if named_by_word(file_stem(path), stems)]
            images = [path for path in images if path not in set(partners)]
        return [(split, images, [*partners, *masks_in_folders(images, masks)], masks)]
    if inner.is_dir():
        found = [(split, folder)]
    else:
        found = [(path.name, path) for path in sorted(folder.iterdir()) if (path / IMAGES).is_dir()]
    if not labelled:
        if not found:
            return [(split, image_files(folder, recursive=True), [], folder)]
        return [(part, image_files(path / IMAGES), [], path) for part, path in found]
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
        inside = masks_in_folders(images, path / MASKS)
        parts.append((part, images, [*image_files(path / MASKS), *inside], path / MASKS))
    if all(_is_folder_of_one_image(part, *files) for part, *files, _ in parts):
        images, partners = ([file for part in parts for file in part[i]] for i in (1, 2))
        return [(split, images, partners, folder)]
    return parts


def _is_folder_of_one_image(name, images, masks):
    """Return whether this is `7/images/7.png` with masks of any name (DSB 2018), not a split."""
    if [file_stem(image) for image in images] != [normal_name(name)]:
        return False
    by_stem, _ = masks_by_stem(images, [Path(mask.name) for mask in masks])
    return bool(masks) and not by_stem[normal_name(name)]


def _group(image, expression):
    if expression is None:
        return ""
    try:
        found = re.search(expression, file_stem(image))
    except re.error as error:
        raise InputError(
            f"Received the group {expression!r}, which is not a regular expression ({error}); "
            "expected one such as '^[^_]+'."
        ) from error
    if not found:
        raise InputError(
            f"The name of {image} does not match the group {expression!r}; expected an expression "
            "that finds the group, such as a patient, in every image's name."
        )
    return found[1] if found.re.groups else found[0]


# Hidden from type checkers, so that they report names that do not exist.
if not TYPE_CHECKING:

    def __getattr__(name):
        return old_attribute(__name__, name)
