"""An index of images and masks: one CSV file with one row per pair."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from keras_espmedsam._shown import shown
from keras_espmedsam.data.file_names import find_file
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import parse_intensity

COLUMNS = ("split", "modality", "dataset", "image", "mask")
"""The columns that an index must have; others are allowed and ignored."""
UNLABELLED_COLUMNS = ("split", "dataset", "image")
"""Those of an index of images without masks."""
_OPTIONAL = ("group", "intensity")


def read_index(
    path: str | os.PathLike,
    splits: Sequence[str] | None = None,
    datasets: Sequence[str] | None = None,
    labelled: bool = True,
) -> list[Record]:
    """Read an index of images and masks.

    Args:
        path: a CSV file with the columns split, modality, dataset, image and mask, and where they
            are wanted group, and intensity: what is black and white in the image, `auto`, `full`
            or `LOW:HIGH`. Paths are relative to the index.
        splits: the splits to keep; all by default.
        datasets: the data sets to keep; all by default.
        labelled: False where masks and modalities may be empty, or their columns missing.

    Returns:
        A `Record` per row, in the file's order.

    Raises:
        InputError: when the index cannot be read, lacks a column, names a file that is missing,
            holds nothing of a chosen split or data set, or gives a data set two modalities.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.png").touch(), (folder / "b.png").touch()
        >>> text = "split,modality,dataset,image,mask\\ntest,fundus,drive,a.png,b.png\\n"
        >>> _ = (folder / "index.csv").write_text(text)
        >>> read_index(folder / "index.csv", splits=["test"])[0].dataset
        'drive'

    Source: ours.
    """
    path = Path(path)
    rows = _rows(path, COLUMNS if labelled else UNLABELLED_COLUMNS)
    rows = _chosen(path, rows, "split", splits)
    rows = _chosen(path, rows, "dataset", datasets)
    records = [
        Record(
            split=row["split"],
            modality=row["modality"],
            dataset=row["dataset"],
            image=find_file(path.parent, row["image"]),
            mask=find_file(path.parent, row["mask"]) if row["mask"] else None,
            group=row["group"],
            intensity=row["intensity"],
        )
        for row in rows
    ]
    _check_modalities(path, records)
    _check_files(path, records)
    return records


def _rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        # utf-8-sig: spreadsheet programs begin the file with a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            found = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = found
            rows = list(reader)
    except FileNotFoundError:
        raise InputError(f"The index {path} does not exist; check the path.") from None
    except OSError as error:
        raise InputError(f"The index {path} cannot be read: {error.strerror}.") from error
    except (ValueError, csv.Error) as error:  # no text, or a byte 0 in its name or in a row
        raise InputError(
            f"The index {path} is not a CSV text file in UTF-8; expected the columns "
            f"{', '.join(columns)}."
        ) from error
    missing = [name for name in columns if name not in found]
    if missing:
        raise InputError(
            f"The index {path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; "
            f"found {_listed(found) or 'no columns'}. Expected {', '.join(columns)} in its first "
            "line."
        )
    if not rows:
        raise InputError(f"The index {path} has no rows; add one line per image.")
    for number, row in enumerate(rows, start=1):
        empty = [name for name in columns if not (row[name] or "").strip()]
        if empty:
            raise InputError(
                f"Row {number} of the index {path} has no {', '.join(empty)}; fill it in or delete "
                "the row."
            )
        row.update({name: (row.get(name) or "").strip() for name in (*COLUMNS, *_OPTIONAL)})
        said = f"in row {number} of the index {path}"
        row["intensity"] = parse_intensity(row["intensity"] or None, said)
    return rows


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
                f"{', '.join(sorted(name or 'none' for name in names))}; expected one. Give its "
                "parts names of their own."
            )


def _check_files(path, records):
    files = [file for record in records for file in (record.image, record.mask) if file]
    missing = [str(file) for file in files if not os.path.isfile(file)]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(
            f"The index {path} names files that do not exist: {', '.join(missing[:3])}{more}. "
            "Paths are relative to the index."
        )
