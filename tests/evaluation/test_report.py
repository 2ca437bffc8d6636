import dataclasses
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.data.record import Record, TargetMask
from keras_espmedsam.data.targets import Targets
from keras_espmedsam.evaluation.instance_metrics import INSTANCE_METRICS, match_objects
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets
from keras_espmedsam.evaluation.paper_metrics import paper_image_measures
from keras_espmedsam.evaluation.report import (
    image_rows,
    mean_or_none,
    modality_means,
    summarise_datasets,
    summarise_objects,
)
from keras_espmedsam.evaluation.target_measures import TargetMeasures

LUNGS = Record("test", "xray", "lungs", Path("1.png"), Path("2.png"))
VESSELS = Record("test", "fundus", "vessels", Path("3.png"), Path("4.png"))


def of_one(values):
    return [TargetMeasures("", values)]


def test_order_and_names_are_those_of_the_records():
    records = [LUNGS, VESSELS, dataclasses.replace(LUNGS, split="unseen"), VESSELS]
    # In whatever order the images were measured.
    values = {(3, 0): 1.0, (2, 0): 0.25, (1, 1): 0.5}
    measured = {key: of_one({"dice": value}) for key, value in values.items()}
    found = summarise_datasets(records, measured)
    assert list(found) == ["lungs/test", "vessels", "lungs/unseen"]
    assert found["vessels"]["dice"] == {"mean": 0.75, "std": 0.25}
    assert [found[name]["n"] for name in found] == [0, 2, 1]
    assert found["lungs/test"]["dice"] == {"mean": None, "std": None}
    assert (found["lungs/unseen"]["modality"], found["lungs/unseen"]["split"]) == ("xray", "unseen")


def test_a_set_without_measures_has_the_figures_of_the_paper():
    one = paper_image_measures(np.ones((4, 4)), np.ones((4, 4)))
    found = summarise_datasets([LUNGS, VESSELS], {(1, 0): of_one(one)}, paper_metrics=True)
    assert list(found["lungs"]) == list(found["vessels"])
    assert found["lungs"]["f1"] == {"mean": None, "std": None}
    assert found["vessels"]["f1"]["mean"] == pytest.approx(1)


def test_rows():
    measured = {(1, 2): of_one({"dice": 1.0}), (0, 0): of_one({"dice": 0.5})}
    rows = image_rows([LUNGS, VESSELS], measured)
    assert rows == [
        {"dataset": "lungs", "split": "test", "modality": "xray", "image": "1.png", "index": 0}
        | {"dice": 0.5},
        {"dataset": "vessels", "split": "test", "modality": "fundus", "image": "3.png", "index": 2}
        | {"dice": 1.0},
    ]


def eye(dataset, *targets, split="test"):
    masks = tuple(TargetMask(name, Path(f"{name}.png")) for name in targets)
    return Record(split, "fundus", dataset, Path("5.png"), targets=masks)


RECORDS = [
    eye("both", "disc", "vessels"),
    eye("one", "disc"),
    eye("one", "disc", split="unseen"),
    eye("none", "cup"),
]
TARGETS = MeasuredTargets(Targets({"fundus": ("vessels", "disc", "cup")}), RECORDS)
MEASURED = {
    (0, 0): [TargetMeasures("vessels", {"dice": 0.5}), TargetMeasures("disc", {"dice": 0.75})],
    (1, 0): [TargetMeasures("disc", {"dice": 0.25})],
    (2, 0): [TargetMeasures("disc", {"dice": 1.0})],
}


def test_a_row_for_each_target_that_is_labelled():
    found = summarise_datasets(RECORDS, MEASURED, targets=TARGETS)
    assert {
        name: (row["target"], row["n"], row["dice"]["mean"]) for name, row in found.items()
    } == {
        "both:vessels": ("vessels", 1, 0.5),
        "both:disc": ("disc", 1, 0.75),
        "one/test": ("disc", 1, 0.25),
        "one/unseen": ("disc", 1, 1.0),
        "none": ("cup", 0, None),
    }
    assert list(found["both:disc"]) == ["split", "modality", "target", "n", "dice"]
    rows = image_rows(RECORDS, MEASURED)
    assert [(row["dataset"], row["target"], row["dice"]) for row in rows] == [
        ("both", "vessels", 0.5),
        ("both", "disc", 0.75),
        ("one", "disc", 0.25),
        ("one", "disc", 1.0),
    ]
    assert list(rows[0]) == ["dataset", "split", "modality", "target", "image", "index", "dice"]


def test_a_target_counts_once_in_the_mean_of_its_modality():
    records = [one for one in RECORDS if one.dataset != "none"]
    found = modality_means(summarise_datasets(records, MEASURED, targets=TARGETS))
    assert found == {
        "test": {"fundus": {"targets": ["vessels", "disc"], "dice": (0.5 + (0.75 + 0.25) / 2) / 2}},
        "unseen": {"fundus": {"targets": ["disc"], "dice": 1.0}},
    }
    whole = modality_means(summarise_datasets(RECORDS, MEASURED, targets=TARGETS))
    assert whole["test"]["fundus"]["dice"] is None  # Of the cup, nothing was measured.
    assert mean_or_none([0.5, None]) is None


def test_a_data_set_counts_once_in_the_mean_of_its_modality():
    rows = [("a", "test", "eye", 0.5), ("b", "test", "eye", 0.7), ("c", "test", "skin", 0.9)]
    rows += [("d", "unseen", "eye", 0.1)]
    datasets = {
        name: {"split": split, "modality": modality, "n": n, "dice": {"mean": value, "std": 0.0}}
        for n, (name, split, modality, value) in enumerate(rows, start=1)
    }
    assert modality_means(datasets) == {
        "test": {
            "eye": {"datasets": ["a", "b"], "dice": pytest.approx(0.6)},
            "skin": {"datasets": ["c"], "dice": 0.9},
        },
        "unseen": {"eye": {"datasets": ["d"], "dice": 0.1}},
    }


def test_objects_have_a_table_of_their_own():
    truth, found = np.array([[1, 1, 0, 2]]), np.array([[1, 1, 0, 0]])
    targets = MeasuredTargets(Targets({"xray": ("mask",), "fundus": ("mask",)}), [LUNGS, VESSELS])
    objects = match_objects(truth, found)
    measured = {
        (0, 0): [TargetMeasures("", {"dice": 0.5}, objects)],
        (1, 0): [TargetMeasures("", {"dice": 0.5})],
    }
    rows = summarise_objects([LUNGS, VESSELS], measured, targets)
    assert list(rows) == ["lungs"]
    assert list(rows["lungs"]) == ["split", "modality", "n", *INSTANCE_METRICS]
    assert rows["lungs"]["count_error"] == {"mean": 1.0, "std": 0.0, "pooled": 1}
    first, second = image_rows([LUNGS, VESSELS], measured)
    assert (
        list(first)
        == list(second)
        == [*("dataset", "split", "modality", "image", "index", "dice", *INSTANCE_METRICS)]
    )
    assert (first["rq"], second["rq"]) == (pytest.approx(2 / 3), None)
    measured = {(0, 0): of_one({"dice": 0.5})}
    assert summarise_objects([LUNGS], measured, targets) == {}
    assert list(image_rows([LUNGS], measured)[0])[-1] == "dice"
