"""The metrics of subgroups; without a model."""

import numpy as np

from keras_espmedsam.evaluation.subgroups import summarise_subgroups


def row(image, dataset, **values):
    return {"dataset": dataset, "split": "test", "image": image, "index": 0, **values}


def test_within_each_data_set():
    datasets = {name: {"split": "test", "n": 3, "dice": {}} for name in ("busi", "isic", "drive")}
    images = [
        row("1", "busi", dice=0.2),
        row("2", "busi", dice=0.6),
        row("3", "busi", dice=1.0),
        row("4", "busi", dice=0.5),
        row("5", "isic", dice=0.7),
        row("6", "drive", dice=0.1),
    ]
    values = {"1": "malignant", "2": "benign", "3": "benign", "5": "benign", "6": ""}
    found = summarise_subgroups(images, datasets, values)
    # The fourth has none; drive has none at all.
    assert {name: list(own) for name, own in found.items()} == {
        "busi": ["", "benign", "malignant"],
        "isic": ["benign"],
    }
    benign = found["busi"]["benign"]
    np.testing.assert_allclose((benign["dice"]["mean"], benign["dice"]["std"]), (0.8, 0.2))
    assert (benign["n"], found["busi"]["malignant"]["dice"]["mean"]) == (2, 0.2)
    assert summarise_subgroups(images, datasets, {}) == {}


def test_an_undefined_value_is_counted_and_left_out_of_the_mean():
    datasets = {"busi": {"split": "test", "n": 2, "nsd": {}}}
    images = [row("1", "busi", nsd=float("nan")), row("2", "busi", nsd=0.5)]
    found = summarise_subgroups(images, datasets, {"1": "a", "2": "a"})
    assert found == {"busi": {"a": {"n": 2, "nsd": {"mean": 0.5, "std": 0.0, "dropped": 1}}}}


def test_the_papers_metrics_are_those_of_a_data_set():
    datasets = {"busi": {"split": "test", "n": 2, "precision": {}, "recall": {}, "f1": {}}}
    both = {"dice": 0.5, "iou": 0.4, "accuracy": 0.9, "hausdorff": 3.0}
    datasets["busi"] |= {name: {} for name in both}
    images = [
        row("1", "busi", precision=1.0, recall=0.2, **both),
        row("2", "busi", precision=0.2, recall=1.0, **both),
    ]
    values = {"1": "a", "2": "a"}
    found = summarise_subgroups(images, datasets, values, paper_metrics=True)["busi"]["a"]
    # From the mean precision and recall; the mean of both images' F1 would be 1/3.
    np.testing.assert_allclose(found["f1"]["mean"], 0.6)
