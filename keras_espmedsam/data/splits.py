"""Read splits from a JSON file, as ESP-MedSAM and its sibling repositories publish them."""

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_espmedsam._plain_file import read_plain_file
from keras_espmedsam._shown import shown
from keras_espmedsam.data.file_names import file_stem, find_file, normal_name
from keras_espmedsam.data.folder_targets import target_folders
from keras_espmedsam.data.image_files import image_files
from keras_espmedsam.data.label_table import parse_labels
from keras_espmedsam.data.mask_names import IMAGES, MASKS, masks_by_stem
from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.data.split_entries import checked_entry, entry_targets, warn_of_unknown_keys
from keras_espmedsam.data.target_rows import (
    Chosen,
    Named,
    Row,
    chosen_names,
    join_rows,
    keep_targets,
    named_target,
    row_targets,
)
from keras_espmedsam.errors import InputError

PUBLISHED_FOLDERS = ("image_1024", "mask_1024")
"""Where the published code looks for images and masks, in its folder `datasets`."""

_SPLITS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}
_MAX_BYTES = 256 * 2**20


def read_splits(
    path: str | os.PathLike,
    modality: str,
    folder: str | os.PathLike | None = None,
    images: str | None = None,
    masks: str | None = None,
    dataset: str | None = None,
    splits: Sequence[str] | None = None,
    targets: Chosen | None = None,
    target: Named | None = None,
    labels: Mapping[Any, Any] | str | None = None,
) -> list[Record]:
    """Read a JSON file that assigns images to splits.

    Two forms are supported. The published one lists names, `{"train": ["ultra_7.png", ...],
    "valid": [...], "test": [...]}`: a name stands for the image and the mask with the same name up
    to its first point, with any suffix. The other lists pairs, `{"train": [{"image":
    "scans/7.dcm", "mask": "labels/7.nii.gz"}, ...]}`, with paths relative to `folder` and
    optionally `modality`, `dataset` and `group`. Instead of `mask`, `masks` gives one for each
    target, `{"vessels": "a.png", "optic_disc": "b.png"}`; beside it, `target` names the mask's
    only target, or `labels` the values of a label image, `{"1": "lungs", "2": "heart"}`.
    `instances` gives images of numbered objects by target, or one; the masks may then be left out.
    Other keys are ignored with a warning. `valid` and `validation` are read as `val`, `training`
    and `testing` as `train` and `test`; other splits keep their names.

    Args:
        path: the JSON file.
        modality: the modality of entries without one.
        folder: the folder that all paths are relative to; by default that of the JSON file.
        images: folder of the named images, relative to `folder`. By default `image_1024`,
            `datasets/image_1024` or `images`, whichever exists.
        masks: folder of their masks. By default `mask_1024`, `datasets/mask_1024` or `masks`.
        dataset: the data set's name; by default the file's name without `_data_split`.
        splits: the splits to keep, such as `val`; all by default.
        targets: the targets to keep, by name, or dict of modality to names; all by default. For
            lists of names, each target has a folder of its own in that of the masks, as in
            `read_folder`.
        target, labels: the target, or the labels, of entries that give neither targets nor labels,
            and of listed names; see `read_index`.

    Returns:
        A `Record` per entry, or per image if an entry gives targets, labels or instances; in the
        file's order.

    Raises:
        InputError: when the file cannot be read or has another form, lacks a split or target, has
            an image in two splits, gives a target of an image two masks, or names a missing file.

    Warns:
        InputWarning: for keys of entries that are ignored.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("image_1024/ultra_7.png", "mask_1024/ultra_7.png"):
        ...     (folder / name).parent.mkdir()
        ...     (folder / name).touch()
        >>> _ = (folder / "udiat_data_split.json").write_text('{"valid": ["ultra_7.png"]}')
        >>> record = read_splits(folder / "udiat_data_split.json", "ultrasound")[0]
        >>> record.split, record.dataset, record.image.name
        ('val', 'udiat', 'ultra_7.png')

    Source: github.com/xq141839/ESP-MedSAM, for lists of names.
    """
    path = Path(path)
    folder = path.parent if folder is None else Path(folder)
    name = dataset or path.stem.removesuffix("_data_split")
    lists = _lists(path, splits)
    every = [pair for entries in lists.values() for pair in entries]
    warn_of_unknown_keys(every)
    named = [entry for _, entry in every if isinstance(entry, str)]
    flat = target is not None or labels is not None
    wanted = None if flat else chosen_names(targets, modality)
    pairs = _named_pairs(path, folder, images, masks, named, wanted, flat) if named else {}
    table = None if labels is None else parse_labels(labels)
    rows = []
    for split, entries in lists.items():
        for said, entry in entries:
            if isinstance(entry, str):
                image, own = pairs[entry]
                record = Record(split, modality, name, image)
                given = named_target(target, modality, labels)
                found = (
                    row_targets(said, own[""], given, table) or own[""]
                    if "" in own
                    else tuple(TargetMask(one, mask) for one, mask in own.items())
                )
            else:
                record = Record(
                    split,
                    entry.get("modality") or modality,
                    entry.get("dataset") or name,
                    find_file(folder, entry["image"]),
                    group=str(entry.get("group") or ""),
                )
                given = named_target(target, record.modality, labels)
                found = entry_targets(said, entry, folder, given, table)
            record = (
                dataclasses.replace(record, targets=found)
                if isinstance(found, tuple)
                else dataclasses.replace(record, mask=found)
            )
            rows.append(Row(said, record))
    records = join_rows(rows)
    _check(path, records)
    return keep_targets(records, targets, str(path))


def _lists(path, splits):
    try:
        content = json.loads(read_plain_file(path, _MAX_BYTES).decode("utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"The file of splits {path} does not exist; check the path.") from None
    except OSError as error:
        raise InputError(f"The file of splits {path} cannot be read: {error.strerror}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"The file of splits {path} cannot be read as JSON ({type(error).__name__}); expected "
            'text such as {"train": ["name.png"], "test": ["other.png"]}.'
        ) from error
    lists: dict[str, list[tuple[str, Any]]] = {}
    for key, entries in (content if isinstance(content, dict) else {}).items():
        if isinstance(entries, list):
            lists.setdefault(_SPLITS.get(key, str(key)), []).extend(
                (f"entry {number} of {shown(key)} in {path}", entry)
                for number, entry in enumerate(entries, start=1)
            )
    if not any(lists.values()):
        raise InputError(
            f"The file of splits {path} holds no list of images; expected an object such as "
            '{"train": ["name.png"], "test": ["other.png"]}.'
        )
    lists = {
        split: [(said, checked_entry(entry, said)) for said, entry in entries]
        for split, entries in lists.items()
    }
    unknown = [one for one in splits or () if one not in lists]
    if unknown:
        raise InputError(
            f"Received the split {', '.join(unknown)}, which {path} does not have; it has "
            f"{', '.join(lists)}."
        )
    return lists if splits is None else {one: lists[one] for one in splits}


def _named_pairs(path, folder, images, masks, names, targets, flat):
    """The image of each name, and its mask by target; an empty target if there is one mask."""
    at = [_place(path, folder, chosen, i) for i, chosen in enumerate((images, masks))]
    by_stem = {file_stem(file): file for file in image_files(at[0])}
    found = {}
    for name in names:
        stem, shorter = normal_name(file_stem(Path(name))), normal_name(name.split(".")[0])
        image = by_stem.get(stem, by_stem.get(shorter))
        if image is not None:
            found[name] = image
    _refuse_missing(path, at[0], [name for name in names if name not in found])
    own: dict[str, dict[str, Path]] = {name: {} for name in names}
    listed, direct = list(found.values()), image_files(at[1])
    folders = {} if flat else target_folders(at[1], listed, bool(direct), targets)
    for target, place in (folders or {"": at[1]}).items():
        partners, _ = masks_by_stem(listed, image_files(place) if target else direct)
        some = {name: partners[normal_name(file_stem(image))] for name, image in found.items()}
        _refuse_missing(
            path,
            place,
            [name for name, files in some.items() if len(files) > 1 or not (files or target)],
        )
        for name, files in some.items():
            if files:
                own[name][target] = files[0]
    _refuse_missing(path, at[1], [name for name in names if not own[name]])
    return {name: (image, own[name]) for name, image in found.items()}


def _refuse_missing(path, folder, names):
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(
            f"{path} names {', '.join(names[:3])}{more}, but {folder} has no such file, or "
            "several; expected one with the same name up to the suffix."
        )


def _place(path, folder, chosen, number):
    if chosen is not None:
        candidates = [folder / chosen]
    else:
        candidates = [
            folder / PUBLISHED_FOLDERS[number],
            folder / "datasets" / PUBLISHED_FOLDERS[number],
            folder / (IMAGES, MASKS)[number],
        ]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise InputError(
        f"The names in {path} need the folder {' or '.join(map(str, candidates))}, which does not "
        f"exist; give it as `{('images', 'masks')[number]}`."
    )


def _check(path, records):
    seen: dict[Path, str] = {}
    for record in records:
        other = seen.setdefault(record.image, record.split)
        if other != record.split:
            raise InputError(
                f"{path} has {record.image.name} in the splits {other} and {record.split}; "
                "expected each image in one split."
            )
    files = list(dict.fromkeys(file for record in records for file in record.files))
    missing = [str(file) for file in files if not os.path.isfile(file)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"{path} names files that do not exist: {', '.join(missing[:3])}{more}. Paths are "
            "relative to `folder`, by default the folder of that file."
        )
