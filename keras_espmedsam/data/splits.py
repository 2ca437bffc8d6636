"""Splits in a JSON file, as ESP-MedSAM and its sibling repositories publish them."""

import json
import os
from collections.abc import Sequence
from pathlib import Path

from keras_espmedsam.data.file_names import file_stem, find_file, normal_name
from keras_espmedsam.data.folder import IMAGES, MASKS, image_files, masks_by_stem
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError

PUBLISHED_FOLDERS = ("image_1024", "mask_1024")
"""Where the published code looks for images and masks, in its folder `datasets`."""

_SPLITS = {"training": "train", "valid": "val", "validation": "val", "testing": "test"}


def read_splits(
    path: str | os.PathLike,
    modality: str,
    folder: str | os.PathLike | None = None,
    images: str | None = None,
    masks: str | None = None,
    dataset: str | None = None,
    splits: Sequence[str] | None = None,
) -> list[Record]:
    """Read a JSON file that says which images belong to which split.

    Two forms are known. The published one lists names, `{"train": ["ultra_7.png", ...], "valid":
    [...], "test": [...]}`: as in the published code a name means the image and the mask that are
    called so up to its first point, whatever their suffixes. The other lists pairs, `{"train":
    [{"image": "scans/7.dcm", "mask": "labels/7.nii.gz"}, ...]}`, with paths relative to `folder`
    and, where given, `modality`, `dataset` and `group`. `valid` and `validation` are read as
    `val`, `training` and `testing` as `train` and `test`; other splits keep their names.

    Args:
        path: the JSON file.
        modality: the modality of images that do not say their own.
        folder: what paths are relative to, and where the folders of names lie; that of the JSON
            file by default.
        images: folder of the images of names, relative to `folder`. By default `image_1024`,
            `datasets/image_1024` or `images`, whichever exists.
        masks: folder of their masks. By default `mask_1024`, `datasets/mask_1024` or `masks`.
        dataset: the data set's name; by default that of the file, without `_data_split`.
        splits: the splits to keep, by the names that they get here; all by default.

    Returns:
        A `Record` per entry, in the file's order.

    Raises:
        InputError: when the file cannot be read or is of another form, a split is not in it, an
            image is in two splits, or a file is missing.

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

    Source: the layout of github.com/xq141839/ESP-MedSAM; pairs are ours.
    """
    path = Path(path)
    folder = path.parent if folder is None else Path(folder)
    name = dataset or path.stem.removesuffix("_data_split")
    lists = _lists(path, splits)
    named = [entry for entries in lists.values() for entry in entries if isinstance(entry, str)]
    pairs = _named_pairs(path, folder, images, masks, named) if named else {}
    records = []
    for split, entries in lists.items():
        for entry in entries:
            if isinstance(entry, str):
                records.append(Record(split, modality, name, *pairs[entry]))
            else:
                records.append(
                    Record(
                        split,
                        entry.get("modality") or modality,
                        entry.get("dataset") or name,
                        find_file(folder, entry["image"]),
                        find_file(folder, entry["mask"]),
                        str(entry.get("group") or ""),
                    )
                )
    _check(path, records)
    return records


def _lists(path, splits):
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InputError(f"The file of splits {path} does not exist; check the path.") from None
    except (OSError, ValueError) as error:
        raise InputError(
            f"The file of splits {path} cannot be read as JSON ({type(error).__name__}); expected "
            'text such as {"train": ["name.png"], "test": ["other.png"]}.'
        ) from error
    lists: dict[str, list] = {}
    for key, entries in (content if isinstance(content, dict) else {}).items():
        if isinstance(entries, list):
            lists.setdefault(_SPLITS.get(key, str(key)), []).extend(entries)
    if not any(lists.values()):
        raise InputError(
            f"The file of splits {path} holds no list of images; expected an object such as "
            '{"train": ["name.png"], "test": ["other.png"]}.'
        )
    wrong = [one for entries in lists.values() for one in entries if not _is_entry(one)]
    if wrong:
        raise InputError(
            f"The file of splits {path} holds {json.dumps(wrong[0])[:80]}; expected names, or "
            'objects with "image" and "mask".'
        )
    unknown = [one for one in splits or () if one not in lists]
    if unknown:
        raise InputError(
            f"Received the split {', '.join(unknown)}, which {path} does not have; it has "
            f"{', '.join(lists)}."
        )
    return lists if splits is None else {one: lists[one] for one in splits}


def _is_entry(entry):
    if isinstance(entry, dict):
        return all(isinstance(entry.get(key), str) and entry[key] for key in ("image", "mask"))
    return isinstance(entry, str)


def _named_pairs(path, folder, images, masks, names):
    """The image and the mask of each name."""
    at = [_place(path, folder, chosen, i) for i, chosen in enumerate((images, masks))]
    by_stem = {file_stem(file): file for file in image_files(at[0])}
    found = {}
    for name in names:
        stem, shorter = normal_name(file_stem(Path(name))), normal_name(name.split(".")[0])
        image = by_stem.get(stem, by_stem.get(shorter))
        if image is not None:
            found[name] = image
    _refuse_missing(path, at[0], [name for name in names if name not in found])
    partners, _ = masks_by_stem(list(found.values()), image_files(at[1]))
    pairs = {
        name: (image, partners[normal_name(file_stem(image))]) for name, image in found.items()
    }
    _refuse_missing(path, at[1], [name for name, (_, some) in pairs.items() if len(some) != 1])
    return {name: (image, some[0]) for name, (image, some) in pairs.items()}


def _refuse_missing(path, folder, names):
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(
            f"{path} names {', '.join(names[:3])}{more}, for which {folder} has no file, or "
            "several; expected one of the same name up to the suffix."
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
                "expected each image in one."
            )
    files = [file for record in records for file in (record.image, record.mask)]
    missing = [str(file) for file in files if not os.path.isfile(file)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"{path} names files that do not exist: {', '.join(missing[:3])}{more}. Paths are "
            "relative to `folder`, or else to the file."
        )
