"""Calibration and guarantees belong to a segmenter, its presets and its weights."""

import keras
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.inference.quality import COEFFICIENTS
from keras_espmedsam.models import quantization
from keras_espmedsam.models.esp_medsam.trained_targets import trained_targets

SIZE = (32, 32)
RECALL = {"level": 0.9, "threshold": 0.25, "num_images": 20, "datasets": ["clinic"]}
CALIBRATION = {"skin": {"mask": {"temperature": 2.0}}, "eye": {"mask": {"bias": -1.0}}}
GUARANTEES = {"skin": {"mask": {"recall": RECALL}}}


@pytest.fixture(autouse=True)
def _untraced(build):
    with build.untraced():
        yield


@pytest.fixture(scope="module")
def plain(build):
    image = keras.Input((*SIZE, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))
    backbone = build.backbone(encoder, transformer_depth=1)
    return build.randomize(build.segmenter(backbone, image_size=SIZE))


@pytest.fixture
def calibrated(plain):
    return kem.models.ESPMedSAMImageSegmenter(
        plain.backbone,
        plain.preprocessor,
        probability_calibration=CALIBRATION,
        guarantees=GUARANTEES,
    )


def test_they_are_saved_and_follow_the_targets(plain, calibrated, tmp_path):
    calibrated.save_to_preset(tmp_path / "preset")
    loaded = kem.models.ESPMedSAMImageSegmenter.from_preset(tmp_path / "preset")
    assert loaded.probability_calibration == CALIBRATION
    assert loaded.guarantees == GUARANTEES
    skin = calibrated.specialize("skin")
    assert skin.probability_calibration == {"skin": CALIBRATION["skin"]}
    assert skin.guarantees == GUARANTEES
    skin.name_targets({"skin": "lesion"})
    assert skin.guarantees == {"skin": {"lesion": {"recall": RECALL}}}
    assert not {"probability_calibration", "guarantees"} & set(plain.get_config())
    with pytest.raises(InputError, match="'recalls'"):
        kem.models.ESPMedSAMImageSegmenter(
            plain.backbone, plain.preprocessor, guarantees={"eye": {"mask": {"recalls": RECALL}}}
        )


def test_segment_uses_them(plain, calibrated):
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype="uint8")
    before, after = (one.segment(image, "skin") for one in (plain, calibrated))
    p = before["probabilities"].astype(float)
    expected = 1 / (1 + np.sqrt((1 - p) / p))
    np.testing.assert_allclose(after["probabilities"], expected, atol=1e-6)
    np.testing.assert_array_equal(after["masks"], before["masks"])
    held = calibrated.segment(image, "skin", guarantee="recall")
    np.testing.assert_array_equal(held["masks"], before["probabilities"] >= np.float32(0.25))
    np.testing.assert_array_equal(held["probabilities"], after["probabilities"])
    with pytest.raises(InputError, match="guarantee with mirror=True"):
        calibrated.segment(image, "skin", guarantee="recall", mirror=True)
    with pytest.raises(InputError, match="does not have for mask of eye"):
        calibrated.segment(image, "eye", guarantee="recall")


@pytest.mark.parametrize("change", ["fit", "quantize"])
def test_other_weights_end_them(calibrated, monkeypatch, change):
    # Neither is needed to see what happens before.
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **options: None)
    monkeypatch.setattr(keras.Model, "quantize", lambda *args, **options: None)
    monkeypatch.setattr(quantization, "_checked", lambda *args: [])
    with pytest.warns(InputWarning, match="the calibration and the guarantees. Fit") as told:
        if change == "fit":
            x = {"images": np.zeros((1, *SIZE, 3), "uint8"), "modalities": ["skin"]}
            calibrated.fit(x, np.zeros((1, *SIZE), "uint8"))
        else:
            calibrated.quantize("int8")
    assert [one.filename for one in told] == [__file__]
    assert calibrated.probability_calibration == calibrated.guarantees == {}


def test_training_ends_what_it_can_change_alone(calibrated, monkeypatch, recwarn):
    monkeypatch.setattr(keras.Model, "fit", lambda *args, **options: None)
    quality = {name: {"mask": dict.fromkeys(COEFFICIENTS, 0.5)} for name in ("skin", "ear")}
    able = calibrated.add_modality("ear", init_from="eye").with_quality(quality)
    assert trained_targets(able) == {"ear": {"mask"}} and trained_targets(calibrated) is None
    x = {"images": np.zeros((1, *SIZE, 3), "uint8"), "modalities": ["ear"]}
    with pytest.warns(InputWarning, match="removed of ear: the predicted quality. Fit"):
        able.fit(x, np.zeros((1, *SIZE), "uint8"))
    assert able.probability_calibration == CALIBRATION and able.guarantees == GUARANTEES
    assert list(able.quality) == ["skin"]
    recwarn.clear()
    able.fit(x, np.zeros((1, *SIZE), "uint8"))
    assert not [one for one in recwarn if issubclass(one.category, InputWarning)]


@pytest.mark.slow_on("jax")
def test_what_is_calibrated_joins_what_was(plain, calibrated, tmp_path):
    rng = np.random.default_rng(0)
    records = []
    for number in range(9):
        pixels = rng.integers(0, 256, SIZE, dtype="uint8")
        image, mask = tmp_path / f"{number}.png", tmp_path / f"{number}_mask.png"
        Image.fromarray(pixels).save(image)
        Image.fromarray(np.uint8(255) * (pixels > 128)).save(mask)
        records.append(Record("val", "eye", "clinic", image, mask))
    (found,) = calibrated.calibrate(records, recall=0.9, probabilities=False)
    assert calibrated.guarantees["skin"] == GUARANTEES["skin"]
    own = calibrated.guarantees["eye"]["mask"]
    assert own == found.guarantees and own["recall"]["num_images"] == 9
    assert calibrated.probability_calibration == CALIBRATION
    # A bias changes masks, and what is predicted of them.
    able = plain.with_quality({"eye": {"mask": dict.fromkeys(COEFFICIENTS, 0.5)}})
    with pytest.warns(InputWarning, match="bias changes the masks of mask; their predicted"):
        able.calibrate(records, bias=True)
    # What was calibrated before does not count.
    (same,) = plain.calibrate(records, recall=0.9)
    assert same.guarantees == found.guarantees
