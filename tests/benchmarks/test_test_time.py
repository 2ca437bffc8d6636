"""How test-time options are measured and shown."""

import importlib
import types

import numpy as np
import pytest


@pytest.fixture
def module(monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    return importlib.import_module("test_time")


def test_a_pass_is_not_run_twice(module):
    calls = []

    def predict(images, indices):
        calls.append(images.shape)
        return images[..., 0]

    parts = dict.fromkeys(
        ("modalities", "target_set", "image_converter", "postprocessing", "probability_calibration")
    )
    model = module.Remembering(types.SimpleNamespace(predict_probabilities=predict, **parts))
    image, index = np.ones((1, 4, 4, 3), "float32"), np.zeros(1, "int32")
    for one in (image, image, image / 2, image):
        np.testing.assert_array_equal(model.predict_probabilities(one, index), one[..., 0])
    assert len(calls) == 2


def test_the_page_shows_what_each_option_adds(module):
    rng = np.random.default_rng(0)
    rows = [
        {
            **{"where": "unseen", "modality": modality, "dataset": "clinic " + modality},
            **{"target": "lesion", "image": f"{number}.png"},
            "dice": {"plain": dice, "`mirror`": dice + gain, "BatchNorm, all": dice - 0.2},
        }
        for modality, gain in (("xray", 0.1), ("fundus", 0.0))
        for number, dice in enumerate(rng.uniform(0.4, 0.6, 10))
    ]
    result = {
        **{"preset": "`p`", "keras": "3", "machine": "m", "images_of_a_set": 10, "rows": rows},
        "seconds": {"plain": 0.2, "`mirror`": 0.39},
    }
    made = module.figures([result])
    mean, low, high = made["labels"]["unseen"]["all"]["`mirror`"]
    assert mean == pytest.approx(0.05) and low == pytest.approx(high)
    lines = list(module.page(made))
    assert "| modality | Dice | `mirror` | BatchNorm, all |" in lines
    (row,) = (line for line in lines if line.startswith("| xray"))
    assert "| **+0.100 [+0.100, +0.100]** | **-0.200 [-0.200, -0.200]** |" in row
    (row,) = (line for line in lines if line.startswith("| fundus"))
    assert "| +0.000 [+0.000, +0.000] |" in row
    assert "| `mirror` | 1.9 |" in lines or "| `mirror` | 2.0 |" in lines
