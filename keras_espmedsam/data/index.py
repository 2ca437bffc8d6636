"""Read an index of images and masks: a CSV file with one row per image and target."""

import csv
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam._shown import shown
from keras_espmedsam.data.file_names import find_file
from keras_espmedsam.data.label_table import parse_labels
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.target_rows import (
    Chosen,
    Named,
    Row,
    join_rows,
    keep_targets,
    named_target,
    row_targets,
)
from keras_espmedsam.errors import InputError, InputWarning, did_you_mean
from keras_espmedsam.imaging.intensity import parse_intensity

COLUMNS = ("split", "modality", "dataset", "image", "mask")
"""The columns that an index must have; others are allowed and ignored."""
UNLABELLED_COLUMNS = ("split", "dataset", "image")
"""The columns that an index of images without masks must have."""
_OPTIONAL = ("group", "intensity", "target", "labels", "instances")
# Other columns are ignored, but these are most likely meant as one that is not.
_MISSPELT = {"targets": "target", "instance": "instances"}
_MAX_BYTES = 256 * 2**20
# The key of a row's number; no text, which may be the name of a column.
_NUMBER: Any = 0


def read_index(
    path: str | os.PathLike,
    splits: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    labelled: bool = True,
    targets: Chosen | None = None,
    target: Named | None = None,
    labels: Mapping[Any, Any] | str | None = None,
) -> list[Record]:
    """Read an index of images and masks.

    A row may name the `target` that its mask shows, or say by `labels` that the mask is a label
    image: `1=lungs;2=heart`, with `+` between targets that share a value, and the name
    `background` for a value of none. Without both, the mask is that of the modality's first
    target. `instances` may name an image that numbers the target's objects from 1; the mask may
    then be left out. Several rows of one image become one record. A target without a row is
    unknown, not absent.

    Args:
        path: a CSV file with the columns split, modality, dataset, image and mask, and optionally
            target, labels, instances, group and intensity (the values shown as black and white:
            `auto`, `full` or `LOW:HIGH`). Paths are relative to the index.
        splits: the splits to keep; all by default.
        datasets: the data sets to keep; all by default.
        labelled: False if masks and modalities may be empty, or their columns missing.
        targets: the targets to keep, by name, or dict of modality to names; all by default.
        target: the target of all rows that give neither a target nor labels, or dict of modality
            to it; by default the modality's first.
        labels: the labels of all rows that give neither a target nor labels: text as above, or
            dict of value to name or names.

    Returns:
        A `Record` per row, or per image if a row names a target, labels or instances; in the
        file's order.

    Raises:
        InputError: when the index cannot be read, lacks a column, names a missing file, has no
            row for a chosen split, data set, modality or target, gives a data set two modalities,
            gives a target of an image two masks, or has names or labels that are not allowed.

    Warns:
        InputWarning: for a column `targets` or `instance`, which is ignored.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.png").touch(), (folder / "b.png").touch()
        >>> text = "split,modality,dataset,image,mask\\ntest,fundus,drive,a.png,b.png\\n"
        >>> _ = (folder / "index.csv").write_text(text)
        >>> read_index(folder / "index.csv", splits=["test"])[0].dataset
        'drive'
    """
    path = Path(path)
    rows, _ = _rows(path, COLUMNS if labelled else UNLABELLED_COLUMNS)
    rows = _chosen(path, rows, "split", splits)
    rows = _chosen(path, rows, "dataset", datasets)
    table = None if labels is None else parse_labels(labels)
    records = join_rows(
        [_row(path, row, table, named_target(target, row["modality"], labels)) for row in rows]
    )
    _check_modalities(path, records)
    records = keep_targets(records, targets, f"the index {path}")
    _check_files(path, records)
    return records


def read_column(path: str | os.PathLike, column: str) -> dict[Path, str]:
    """Read any column of an index, such as one that names the hospital of each image.

    Args:
        path: the index, as for `read_index`.
        column: the column's name.

    Returns:
        dict of the path of each image, as in its record, to its value; empty if it has none.

    Raises:
        InputError: when the index cannot be read, has no such column, or gives an image two values.

    Example:
        >>> import tempfile
        >>> index = Path(tempfile.mkdtemp()) / "index.csv"
        >>> text = "split,modality,dataset,image,mask,kind\\ntest,skin,isic,1.png,1m.png,benign\\n"
        >>> _ = index.write_text(text)
        >>> list(read_column(index, "kind").values())
        ['benign']
    """
    path = Path(path)
    rows, names = _rows(path, COLUMNS)
    if column not in names:
        raise InputError(
            f"The index {path} has no column {shown(column)}{did_you_mean(column, names)} It has "
            f"{_listed(names)}."
        )
    found: dict[Path, str] = {}
    for row in rows:
        image, value = find_file(path.parent, row["image"]), str(row[column] or "").strip()
        if found.setdefault(image, value) != value:
            raise InputError(
                f"The index {path} gives {shown(image)} the values {shown(found[image])} and "
                f"{shown(value)} in the column {shown(column)}; give all rows of an image the same."
            )
    return found


def _row(path, row, table, target):
    said = f"row {row[_NUMBER]} of the index {path}"
    mask, instances = (
        find_file(path.parent, row[name]) if row[name] else None for name in ("mask", "instances")
    )
    labels = None if row["target"] else table
    if row["labels"]:
        labels = parse_labels(row["labels"], f"in {said}")
    name = row["target"] or ("" if labels else target)
    targets = row_targets(said, mask, name, labels, instances)
    record = Record(
        split=row["split"],
        modality=row["modality"],
        dataset=row["dataset"],
        image=find_file(path.parent, row["image"]),
        mask=None if targets else mask,
        group=row["group"],
        intensity=row["intensity"],
        targets=targets,
    )
    return Row(said, record)


def _rows(path: Path, columns: Sequence[str]) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the rows, and the names of the columns that the file has."""
    try:
        check_plain_file(path)
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(
                f"The index {path} has more than {_MAX_BYTES >> 20} MiB, enough for a million "
                "images; split it into several."
            )
        # utf-8-sig: spreadsheet programs write a byte order mark at the start.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = found
            rows = list(reader)
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"The index {path} does not exist; check the path.") from None
    except OSError as error:
        raise InputError(f"The index {path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:  # Not text, or a zero byte in its name or a row.
        raise InputError(
            f"The index {path} is not a CSV text file in UTF-8; expected the columns "
            f"{', '.join(columns)}."
        ) from error
    if "instances" in found:  # They say what the mask would.
        columns = [name for name in columns if name != "mask" or name in found]
    missing = [name for name in columns if name not in found]
    if missing:
        raise InputError(
            f"The index {path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"found {_listed(found) or 'no columns'}. Expected {', '.join(columns)} in its first "
            "line."
        )
    if not rows:
        raise InputError(f"The index {path} has no rows; add one line per image.")
    for name, meant in _MISSPELT.items():
        if name in found and meant not in found:
            warnings.warn(
                f"The column {name} of the index {path} is ignored; if it was meant to be read, "
                f"call it {meant}.",
                InputWarning,
                stacklevel=3,
            )
    for number, row in enumerate(rows, start=1):
        row[_NUMBER] = number
        empty = [name for name in columns if not (row[name] or "").strip()]
        if (row.get("instances") or "").strip():
            empty = [name for name in empty if name != "mask"]
        if empty:
            raise InputError(
                f"Row {number} of the index {path} has no {', '.join(empty)}; fill it in or delete "
                "the row."
            )
        row.update({name: (row.get(name) or "").strip() for name in (*COLUMNS, *_OPTIONAL)})
        said = f"in row {number} of the index {path}"
        row["intensity"] = parse_intensity(row["intensity"] or None, said)
    return rows, found


def _listed(names, most=20):
    more = [f"and {len(names) - most} more"] if len(names) > most else []
    return ", ".join([shown(name, 40) for name in names[:most]] + more)


def _chosen(path, rows, column, names):
    if names is None:
        return rows
    present = dict.fromkeys(row[column] for row in rows)
    unknown = [name for name in names if name not in present]
    if unknown or not names:
        received = ", ".join(f"'{name}'" for name in unknown) or "none"
        raise InputError(
            f"Received the {column} {received}, which the index {path} does not have; it has "
            f"{', '.join(present)}."
        )
    return [row for row in rows if row[column] in names]


def _check_modalities(path, records):
    modalities: dict[str, set[str]] = {}
    for record in records:
        modalities.setdefault(record.dataset, set()).add(record.modality)
    for dataset, names in modalities.items():
        if len(names) > 1:
            raise InputError(
                f"The index {path} gives the data set {dataset} the modalities "
                f"{', '.join(sorted(name or 'none' for name in names))}; expected one. Give each "
                "modality its own data set name."
            )


def _check_files(path, records):
    files = list(dict.fromkeys(file for record in records for file in record.files))
    missing = [str(file) for file in files if not os.path.isfile(file)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"The index {path} names files that do not exist: {', '.join(missing[:3])}{more}. "
            "Paths are relative to the index."
        )
