"""What is black and white in an evaluation: what is said, what the record says, the preset."""

import types

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.evaluation.evaluate import evaluate
from keras_espmedsam.imaging.pixels import to_rgb


class Brightness:
    """Foreground is what is at least half as bright as white."""

    modalities = ("xray",)
    intensity = "auto"

    def segment(self, images, modalities, threshold, batch_size, mirror, intensity=None):
        units = [to_rgb(image, intensity or self.intensity)[..., 0] for image in images]
        return {"masks": [unit >= 0.5 for unit in units], "probabilities": units}


@pytest.fixture
def record(tmp_path):
    array = np.full((6, 8), 100, "uint16")
    array[:, 4:] = 3000
    Image.fromarray(array).save(tmp_path / "a.png")
    Image.fromarray(np.where(array > 1000, 255, 0).astype("uint8")).save(tmp_path / "m.png")
    return Record("test", "xray", "lungs", tmp_path / "a.png", tmp_path / "m.png")


def dice(record, segmenter=None, **options):
    report = evaluate(segmenter or Brightness(), [record], **options)
    return report["datasets"]["lungs"]["dice"]["mean"]


def test_the_values_decide_where_nothing_tells_and_it_is_told(record):
    told = []
    assert dice(record, on_notice=lambda record, notice: told.append((record, notice))) == 1
    assert [one.image for one, _ in told] == [record.image]
    assert "only 12 of its 16 bits are used" in told[0][1]
    with pytest.warns(InputWarning, match="Of 1 images: only 12 of its 16 bits are used"):
        dice(record)


def test_it_can_be_said(record):
    assert dice(record, intensity="full") == 0
    assert dice(record, intensity="0:4095") == 1
    assert dice(record, intensity=(0, 9000)) == 0
    with pytest.raises(InputError, match="expected 'auto', 'full' or LOW:HIGH"):
        dice(record, intensity="half")


def test_the_record_before_the_run_and_that_before_the_preset(record):
    segmenter = Brightness()
    segmenter.intensity = (0.0, 9000.0)
    assert dice(record, segmenter) == 0
    segmenter.intensity = (0.0, 4095.0)
    assert dice(record, segmenter) == 1  # applied once
    segmenter.intensity = (0.0, 9000.0)
    assert dice(record, segmenter, intensity=(0, 4095)) == 1
    said = Record(**{**vars(record), "intensity": (0.0, 4095.0)})
    assert dice(said, segmenter) == 1
    assert dice(said, segmenter, intensity="full") == 1


def test_a_log_is_not_resumed_with_another(record, tmp_path):
    segmenter = types.SimpleNamespace(segment=Brightness().segment, modalities=("xray",))
    evaluate(segmenter, [record], log=tmp_path / "log", intensity=(0, 4095))
    evaluate(segmenter, [record], log=tmp_path / "log", intensity="0:4095")
    with pytest.raises(InputError, match="intensity"):
        evaluate(segmenter, [record], log=tmp_path / "log", intensity="full")
