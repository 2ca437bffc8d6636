import dataclasses
import json
import types
from pathlib import Path

import numpy as np

from keras_espmedsam.data.record import Record
from keras_espmedsam.evaluation.run_settings import run_settings

RECORD = Record("test", "xray", "lungs", Path("1.png"), Path("2.png"))


class Converter:
    def __init__(self, size, name="converter"):
        self.name, self.image_size, self.intensity = name, size, "auto"


def segmenter(weight=1.0, size=(32, 32), name="converter", description=None):
    found = types.SimpleNamespace(
        get_weights=lambda: [np.full((2, 3), weight, "float32"), np.zeros(2)],
        preprocessor=types.SimpleNamespace(image_converter=Converter(size, name)),
    )
    if description:
        found.description = description
    return found


def test_equal_for_what_gives_equal_measures():
    first = run_settings(segmenter(), [RECORD], mirror=True)
    assert json.loads(json.dumps(first)) == first
    assert first["mirror"] is True
    # Keras counts up the names of what it makes.
    assert run_settings(segmenter(name="converter_1"), [RECORD], mirror=True) == first
    absolute = dataclasses.replace(RECORD, image=Path("1.png").absolute(), group="patient")
    assert run_settings(segmenter(), [absolute], mirror=True) == first


def test_other_for_another_segmenter_or_other_images():
    first = run_settings(segmenter(), [RECORD])
    for other in (
        segmenter(weight=1.0000001),
        segmenter(size=(32, 64)),
        segmenter(description={"sha256": "a"}),
        types.SimpleNamespace(),
    ):
        found = run_settings(other, [RECORD])
        assert found["segmenter"] != first["segmenter"]
        assert found["images"] == first["images"]
    for records in (
        [],
        [RECORD, RECORD],
        *(
            [dataclasses.replace(RECORD, **change)]
            for change in (
                {"split": "val"},
                {"modality": "mri"},
                {"dataset": "other"},
                {"image": Path("3.png")},
                {"mask": Path("3.png")},
                {"index": 0},
                {"intensity": (0, 4095)},
                {"other_masks": (Path("3.png"),)},
            )
        ),
    ):
        found = run_settings(segmenter(), records)
        assert found["images"] != first["images"]
        assert found["segmenter"] == first["segmenter"]
