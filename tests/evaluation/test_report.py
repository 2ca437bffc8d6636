import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.data.record import Record
from keras_espmedsam.evaluation.paper_metrics import paper_image_measures
from keras_espmedsam.evaluation.report import image_rows, summarise_datasets

LUNGS = Record("test", "xray", "lungs", Path("1.png"), Path("2.png"))
VESSELS = Record("test", "fundus", "vessels", Path("3.png"), Path("4.png"))


def test_order_and_names_are_those_of_the_records():
    records = [LUNGS, VESSELS, dataclasses.replace(LUNGS, split="unseen"), VESSELS]
    # In whatever order the images were measured.
    measured = {(3, 0): {"dice": 1.0}, (2, 0): {"dice": 0.25}, (1, 1): {"dice": 0.5}}
    found = summarise_datasets(records, measured)
    assert list(found) == ["lungs/test", "vessels", "lungs/unseen"]
    assert found["vessels"]["dice"] == {"mean": 0.75, "std": 0.25}
    assert [found[name]["n"] for name in found] == [0, 2, 1]
    assert found["lungs/test"]["dice"] == {"mean": None, "std": None}
    assert (found["lungs/unseen"]["modality"], found["lungs/unseen"]["split"]) == ("xray", "unseen")


def test_a_set_without_measures_has_the_figures_of_the_paper():
    one = paper_image_measures(np.ones((4, 4)), np.ones((4, 4)))
    found = summarise_datasets([LUNGS, VESSELS], {(1, 0): one}, paper_metrics=True)
    assert list(found["lungs"]) == list(found["vessels"])
    assert found["lungs"]["f1"] == {"mean": None, "std": None}
    assert found["vessels"]["f1"]["mean"] == pytest.approx(1)


def test_rows():
    rows = image_rows([LUNGS, VESSELS], {(1, 2): {"dice": 1.0}, (0, 0): {"dice": 0.5}})
    assert rows == [
        {"dataset": "lungs", "split": "test", "modality": "xray", "image": "1.png", "index": 0}
        | {"dice": 0.5},
        {"dataset": "vessels", "split": "test", "modality": "fundus", "image": "3.png", "index": 2}
        | {"dice": 1.0},
    ]
