"""A table of the number and the areas of the objects in images."""

import csv
import math
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import cell
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.pixel_spacing import pixel_spacing
from keras_espmedsam.data.stored_masks import checked_numbers, checked_objects
from keras_espmedsam.imaging.objects import connected_components

COLUMNS = (
    *("image", "number", "modality", "target", "objects"),
    *("area_pixels", "mean_area_pixels", "median_area_pixels"),
    *("area_share", "mean_area_share", "median_area_share"),
    *("area_mm2", "mean_area_mm2", "median_area_mm2"),
)
"""The columns of the table."""


def count_objects(
    name: str,
    objects: Mapping[str, np.ndarray],
    reference: DecodedImage | None = None,
    modality: str = "",
) -> list[dict[str, Any]]:
    """Return a row of the table for each target of an image.

    Args:
        name: the image's name in the table.
        objects: dict of target to `(height, width)`: a label image of integers, 0 for the
            background and a number for each object; or a mask of bool, whose connected parts
            count.
        reference: the image that was segmented, for its number in the file and the size of its
            pixels, where the file says it.
        modality: the image's modality.

    Returns:
        List of dicts with the keys of `COLUMNS`. `_share` is the area as a fraction of the image.
        Areas in mm2 are None if the size of a pixel is unknown; means and medians are None without
        objects.

    Raises:
        InputError: for arrays of another type or shape, or with negative numbers.

    Example:
        >>> row, = count_objects("cells.png", {"nuclei": np.array([[1, 1, 0, 2]])})
        >>> row["objects"], row["area_pixels"], row["area_share"], row["area_mm2"]
        (2, 3, 0.75, None)
    """
    spacing = None if reference is None else pixel_spacing(reference)
    one_pixel = None if spacing is None else math.prod(spacing)
    number = reference.index + 1 if reference is not None and reference.count > 1 else None
    rows = []
    for target, labels in checked_objects(objects).items():
        labels = np.asarray(labels)
        labels = connected_components(labels) if labels.dtype == bool else checked_numbers(labels)
        sizes = np.unique(labels[labels != 0], return_counts=True)[1]
        areas: dict[str, Any] = {
            "area": int(sizes.sum()),
            "mean_area": float(sizes.mean()) if sizes.size else None,
            "median_area": float(np.median(sizes)) if sizes.size else None,
        }
        row: dict[str, Any] = {
            "image": name,
            "number": number,
            "modality": modality,
            "target": target,
            "objects": int(sizes.size),
        }
        row |= {f"{key}_pixels": value for key, value in areas.items()}
        row |= {
            f"{key}_share": None if value is None else value / max(labels.size, 1)
            for key, value in areas.items()
        }
        row |= {
            f"{key}_mm2": None if one_pixel is None or value is None else value * one_pixel
            for key, value in areas.items()
        }
        rows.append(row)
    return rows


def write_counts(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write the table as CSV, completely or not at all.

    Args:
        path: the file. An existing one is replaced.
        rows: rows from `count_objects`. What is unknown is left empty.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/counts.csv"
        >>> write_counts(path, count_objects("eye.png", {"disc": np.array([[True, False]])}))
        >>> print(open(path).read().splitlines()[1])
        eye.png,,,disc,1,1,1.0,1.0,0.5,0.5,0.5,,,
    """
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(COLUMNS)
            table.writerows([cell(row.get(column)) for column in COLUMNS] for row in rows)
