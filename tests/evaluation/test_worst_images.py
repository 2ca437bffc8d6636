"""The worst images of each data set, by name; without a model."""

import pytest

from keras_espmedsam.evaluation.worst_images import worst_images


def row(image, value, metric="dice", **more):
    return {"dataset": "drive", "split": "test", "image": image, "index": 0, metric: value, **more}


def names(found):
    return {name: [one["image"] for one in ones] for name, ones in found.items()}


def test_each_data_set_and_target_has_its_own():
    datasets = {
        "drive/test:vessels": {"split": "test", "target": "vessels", "dice": {}},
        "drive/test:disc": {"split": "test", "target": "disc", "dice": {}},
        "drive/val:disc": {"split": "val", "target": "disc", "dice": {}},
        "hrf": {"split": "val", "target": "vessels", "dice": {}},
    }
    images = [
        row("1", 0.9, target="vessels"),
        row("1", 0.1, target="disc"),
        row("2", 0.8, target="vessels"),
        row("3", 0.7, target="vessels"),
        row("3", 0.3, target="disc", split="val"),
    ]
    found = worst_images(images, datasets, 2)
    assert names(found) == {
        "drive/test:vessels": ["3", "2"],
        "drive/test:disc": ["1"],
        "drive/val:disc": ["3"],
        "hrf": [],
    }
    assert found["drive/test:disc"] == [{"image": "1", "index": 0, "dice": 0.1}]
    assert not any(worst_images(images, datasets, 0).values())


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (["hd95", "dice"], ["b", "a"]),  # Dice counts, wherever it stands.
        (["hd95", "iou"], ["a", "b"]),
        (["iou", "hd95"], ["b", "a"]),
    ],
)
def test_a_distance_is_worst_where_it_is_highest(metrics, expected):
    datasets = {"drive": {"split": "test", "n": 2, **{name: {} for name in metrics}}}
    a, b = {"hd95": 9.0, "iou": 0.9, "dice": 0.9}, {"hd95": 3.0, "iou": 0.3, "dice": 0.3}
    images = [row(name, one[metrics[0]], metrics[0], **one) for name, one in (("a", a), ("b", b))]
    assert names(worst_images(images, datasets)) == {"drive": expected}


def test_what_is_undefined_is_left_out():
    datasets = {"drive": {"split": "test", "n": 3, "nsd": {}}}
    images = [row("1", float("nan"), "nsd"), row("2", None, "nsd"), row("3", 0.5, "nsd")]
    assert names(worst_images(images, datasets)) == {"drive": ["3"]}
