"""Find the masks and instances of each target in a folder."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from keras_espmedsam.data.file_names import file_stem, normal_name
from keras_espmedsam.data.image_files import image_files
from keras_espmedsam.data.label_table import check_target_name
from keras_espmedsam.data.mask_names import counted, listed_names, masks_by_stem, pair_by_stem
from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.data.target_rows import row_targets
from keras_espmedsam.errors import InputError

# A folder of masks with such a name is more likely that of a split than of a target.
_SPLIT_WORDS = ("train", "training", "val", "valid", "validation", "test", "testing")


def target_folders(
    masks: Path, images: Sequence[Path], others: bool, targets: Sequence[str] | None = None
) -> dict[str, Path]:
    """Find the folders of masks that are named like targets.

    Args:
        masks: the folder that they are in.
        images: the images, whose names are not those of targets.
        others: whether the folder has masks of its own, so that no other folder is taken unasked.
        targets: the names, or None for all folders, if there is nothing else in `masks`.

    Returns:
        The folders by target; none if there are none.

    Raises:
        InputError: for a target without a folder, and a folder with a name that is not allowed.
    """
    inside = sorted(path for path in masks.iterdir() if path.is_dir() and path.name[0] != ".")
    if targets is not None:
        found = {path.name: path for path in inside}
        lacking = [name for name in targets if name not in found]
        if lacking:
            raise InputError(
                f"The folder {masks} has no folder {', '.join(lacking)} for the masks of that "
                f"target; it has {', '.join(found) or 'none'}. If all masks show one target, give "
                "its name as `target`; if they are label images, give `labels`."
            )
        return {name: found[name] for name in targets}
    stems = {file_stem(image) for image in images}
    if others or any(normal_name(path.name) in stems for path in inside):
        return {}
    inside = [path for path in inside if image_files(path, recursive=True)]
    if any(path.name.lower() in _SPLIT_WORDS for path in inside):
        return {}
    return {check_target_name(path.name, f"for the folder {path}"): path for path in inside}


class _MaskSet(NamedTuple):
    """The masks of one target, in all images.

    Args:
        target: its name, or empty.
        files: the masks.
        where: their folder, for messages.
        partial: whether images may lack it.
        behind: whether its name is behind that of the image.
    """

    target: str
    files: list[Path]
    where: Path
    partial: bool = False
    behind: bool = False


def _sets_by_target(images, masks, place, folder, wanted):
    """Return a set for each target, by names or folders; none if targets are not told apart."""
    sets = []
    for target in wanted or ():
        by_stem, _ = masks_by_stem(images, masks, target)
        files = [mask for own in by_stem.values() for mask in own]
        if files:
            sets.append(_MaskSet(target, files, folder, True, True))
    if sets:
        return sets
    return [
        _MaskSet(target, [*image_files(path), *masks_in_folders(images, path)], path, True)
        for target, path in target_folders(place, images, bool(masks), wanted).items()
    ]


def folder_of_instances(instances: str | os.PathLike, beside: Path) -> Path:
    """Return the folder as it is given, or as a name beside that of the images or masks."""
    for path in (Path(instances), beside.parent / instances):
        if os.path.isdir(path):
            return path
    raise InputError(f"The folder of instances {instances} does not exist; check the path.")


class TargetFiles(NamedTuple):
    """The files of one target of an image."""

    masks: tuple[Path, ...]
    instances: Path | None


def files_by_target(
    images: Sequence[Path],
    masks: Sequence[Path],
    place: Path,
    folder: Path,
    target: str = "",
    alike: bool = False,
    targets: Sequence[str] | None = None,
    merge: bool = False,
    instances: Path | None = None,
) -> dict[Path, dict[str, TargetFiles]]:
    """Find each image's masks and instances by target.

    Args:
        images: the images.
        masks: the masks that are not in a folder of a target.
        place: their folder, which may hold folders of targets.
        folder: the folder of the data set, for messages.
        target: the target of `masks`; empty for the modality's first.
        alike: whether all masks are of that target, or label images, so that there are no others.
        targets: the targets to look for, or None for all folders.
        merge: whether an image may have several masks of a target.
        instances: the folder of the instances, or None.

    Raises:
        InputError: for files without a partner, or several for one image.
    """
    sets = [_MaskSet(target, list(masks), folder)]
    if not alike:
        sets = _sets_by_target(images, masks, place, folder, targets) or sets
    found: dict[Path, dict[str, TargetFiles]] = {image: {} for image in images}
    for name, files, where, partial, behind in sets:
        word = name if behind else ""
        by_stem, _ = masks_by_stem(images, files, word)
        own = [image for image in images if by_stem[file_stem(image)] or not partial]
        objects = {}
        if instances is not None and partial and (instances / name).is_dir():
            objects = _objects(images, instances / name)
        elif instances is not None and (behind or len(sets) == 1):
            objects = _objects(images, instances, word)
        for image, *some in pair_by_stem(own, files, where, merge, word):
            found[image][name] = TargetFiles(tuple(some), objects.get(image))
    files_of = [one for own in found.values() for one in own.values()]
    if instances is not None and files_of and not any(one.instances for one in files_of):
        raise InputError(
            f"The folder of instances {instances} holds none for the images of {folder}; expected "
            "files with the images' names, in a folder for each target if there are several."
        )
    bare = [image for image, own in found.items() if not own]
    if bare:
        raise InputError(
            f"{place} holds no mask of {counted(bare, 'image')} ({listed_names(bare)}) for any of "
            f"the targets {', '.join(one.target for one in sets)}; expected one target at least "
            "for each image, with the image's name."
        )
    return found


def _objects(images, place, word=""):
    by_stem, lonely = masks_by_stem(images, image_files(place), word)
    lonely = [] if word else lonely  # Those of other targets.
    several = [path for files in by_stem.values() if len(files) > 1 for path in files]
    if lonely or several:
        raise InputError(
            f"{place} holds {counted(lonely or several, 'file')} of instances "
            f"{'without an image' if lonely else 'that share an image'} "
            f"({listed_names(lonely or several)}); expected one at most for each image, with its "
            "name."
        )
    return {image: by_stem[file_stem(image)][0] for image in images if by_stem[file_stem(image)]}


def with_targets(
    record: Record,
    found: Mapping[str, TargetFiles],
    table: Mapping[int, tuple[str, ...]] | None = None,
    objects: bool = False,
) -> Record:
    """Return a record with the files found for it.

    Args:
        record: the record of an image.
        found: its files by target.
        table: the labels of its label image, or None.
        objects: whether each of its masks shows one object.

    Raises:
        InputError: for several label images.
    """
    if list(found) == [""] and table is None and found[""].instances is None and not objects:
        mask, *others = found[""].masks
        return dataclasses.replace(record, mask=mask, other_masks=tuple(others))
    targets: tuple[TargetMask, ...] = ()
    for target, (masks, numbered) in found.items():
        if table is not None and len(masks) > 1:
            raise InputError(
                f"{record.image} has {len(masks)} label images ({listed_names(masks)}); expected "
                "one."
            )
        said = f"the folder of {masks[0].name}"
        for one in row_targets(said, masks[0], target, table, numbered) or (
            TargetMask(target, masks[0]),
        ):
            rest = tuple(masks[1:])
            one = dataclasses.replace(one, other_masks=rest, objects=objects and not table)
            targets += (one,)
    return dataclasses.replace(record, targets=targets)


def masks_in_folders(images: Sequence[Path], masks: Path) -> list[Path]:
    """Return the masks in folders that are named like an image: `masks/7/*.png`."""
    stems = {file_stem(image) for image in images}
    folders = sorted(path for path in masks.iterdir() if path.is_dir() and path.name[0] != ".")
    return [path for one in folders if normal_name(one.name) in stems for path in image_files(one)]
