import csv
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.data import DecodedImage, Volume, read_image
from keras_espmedsam.data.object_counts import COLUMNS, count_objects, write_counts
from keras_espmedsam.errors import InputError

LABELS = np.array([[1, 1, 1, 0, 9], [0, 0, 0, 9, 9], [70_000, 0, 0, 0, 0]])


def slice_of(volume, index=0, count=3):
    return DecodedImage(np.zeros((3, 5)), Path("scan.nii.gz"), index, count, volume=volume)


def test_objects_and_connected_parts_of_masks_are_counted():
    nuclei, tissue, none = count_objects(
        "cells.png", {"nuclei": LABELS, "tissue": LABELS > 0, "tumour": LABELS < 0}
    )
    assert tuple(nuclei) == COLUMNS
    assert nuclei["objects"] == 3
    assert (nuclei["area_pixels"], nuclei["median_area_pixels"]) == (7, 3)
    assert nuclei["mean_area_pixels"] == 7 / 3
    assert (nuclei["area_share"], nuclei["median_area_share"]) == (7 / 15, 3 / 15)
    assert nuclei["mean_area_share"] == pytest.approx(7 / 3 / 15)
    assert {nuclei[key] for key in COLUMNS if key.endswith("mm2")} == {None}
    # Two of the objects touch at a corner.
    assert (tissue["objects"], tissue["area_pixels"]) == (2, 7)
    assert (none["objects"], none["area_pixels"], none["mean_area_pixels"]) == (0, 0, None)
    assert none["area_mm2"] is None
    assert (none["area_share"], none["mean_area_share"]) == (0, None)


def test_areas_in_square_millimetres_where_the_file_says_the_size_of_a_pixel():
    volume = Volume((5, 3, 3), np.diag([0.5, 0.25, 9.0, 1.0]))
    (row,) = count_objects("scan", {"cells": LABELS}, slice_of(volume, 1), "mri")
    assert (row["number"], row["modality"]) == (2, "mri")
    assert row["area_mm2"] == 7 * 0.125
    assert row["mean_area_mm2"] == pytest.approx(7 * 0.125 / 3)
    assert row["median_area_mm2"] == 3 * 0.125
    volume = Volume((5, 3, 3), np.diag([0.0, 0.25, 9.0, 1.0]))
    assert count_objects("scan", {"cells": LABELS}, slice_of(volume))[0]["area_mm2"] is None


def test_a_file_of_one_image_has_no_number_and_a_png_no_size_of_a_pixel(save):
    image = read_image(save(np.zeros((3, 5), np.uint8)))
    (row,) = count_objects("cells.png", {"nuclei": LABELS}, image)
    assert row["number"] is row["area_mm2"] is None


def test_the_table_is_safe_and_complete(tmp_path):
    path = tmp_path / "counts.csv"
    rows = count_objects("=1+1.png", {"nuclei": LABELS}) + count_objects("é.png", {"a": LABELS < 0})
    write_counts(path, rows)
    with path.open(encoding="utf-8", newline="") as file:
        first, second = csv.DictReader(file)
    assert tuple(first) == COLUMNS
    assert first["image"] == "'=1+1.png"
    assert (first["objects"], first["area_pixels"], first["median_area_pixels"]) == (
        "3",
        "7",
        "3.0",
    )
    assert (second["image"], second["mean_area_pixels"], second["area_mm2"]) == ("é.png", "", "")
    write_counts(path, [])
    assert path.read_text() == ",".join(COLUMNS) + "\n"


def test_numbers_below_0_are_not_counted():
    with pytest.raises(InputError, match="labels from -1 to 69999; expected 0 for the background"):
        count_objects("cells.png", {"nuclei": LABELS - 1})


def test_probabilities_are_not_counted():
    with pytest.raises(InputError, match="type float64; expected integers"):
        count_objects("cells.png", {"nuclei": LABELS / 2})
