"""Images that choose the ranges of int8 and measure what it costs."""

import types

import keras
import numpy as np
import pytest
from PIL import Image

import keras_espmedsam as kem
from keras_espmedsam.data import Record, TargetMask
from keras_espmedsam.export import ExportedSegmenter, comparison, quantization_data
from keras_espmedsam.export.description import describe
from keras_espmedsam.export.request import make_request
from keras_espmedsam.models import ESPMedSAMImageConverter


def test_images_are_measured_as_the_presets_intensity_shows_them(tmp_path):
    """It is applied once: 3,000 is bright between 0 and 4,095."""
    array = np.full((32, 32), 100, "uint16")
    array[:, 16:] = 3000
    Image.fromarray(array).save(tmp_path / "a.png")
    Image.fromarray(np.where(array > 1000, 255, 0).astype("uint8")).save(tmp_path / "m.png")
    record = Record("val", "xray", "lungs", tmp_path / "a.png", tmp_path / "m.png")
    converter = ESPMedSAMImageConverter((32, 32), intensity=(0, 4095))
    task = types.SimpleNamespace(
        modalities=("xray",),
        modality_indices=lambda modalities, count: np.zeros(count, "int32"),
        predict_probabilities=lambda images, indices: (images[..., 0] > 0).astype("float32"),
    )
    assert quantization_data._mean_dice(quantization_data._AtSize(task, converter), [record]) == 1


@pytest.fixture
def records(tmp_path):
    """Of each modality four images, whose left half is the mask."""
    found = []
    for name in ("skin", "lung", "eye"):
        for i in range(4):
            image, mask = tmp_path / f"{name}{i}.png", tmp_path / f"{name}{i}_mask.png"
            rng = np.random.default_rng([i, len(name)])
            Image.fromarray(comparison.made_image(rng, (64, 64))).save(image)
            half = np.zeros((64, 64), "uint8")
            half[:, :32] = 255
            Image.fromarray(half).save(mask)
            found.append(Record("val", name, "made", image, mask))
    return found


def test_images_of_all_modalities_calibrate_and_others_measure(segmenter, records, tmp_path):
    calibrating, measuring = quantization_data.chosen_records(segmenter, records)
    assert [one.modality for one in calibrating] == ["skin", "skin", "lung", "lung", "eye", "eye"]
    assert {*calibrating, *measuring} == set(records) and len(measuring) == 6
    request = make_request(segmenter, "onnx", tmp_path / "m.onnx", batch_size=2, precision="int8")
    inputs = quantization_data.calibration_inputs(segmenter, request, calibrating)
    assert [one["modalities"].tolist() for one in inputs] == [[0, 0]] * 2 + [[1, 1]] * 2 + [
        [2, 2]
    ] * 2
    for one, record in zip(inputs, calibrating, strict=True):
        expected = np.asarray(Image.open(record.image))
        assert one["images"].dtype == "uint8"
        np.testing.assert_array_equal(one["images"], np.stack([expected] * 2))


@pytest.mark.parametrize("value, dice", [(1.0, 2 / 3), (0.0, 0.0)])
def test_dice_beside_the_keras_models(segmenter, records, tmp_path, monkeypatch, value, dice):
    """All of an image against its half: 2 * 1/2 over 3/2."""

    def runtime(inputs):
        assert inputs["images"].dtype == "uint8" and len(inputs["modalities"]) == 1
        probabilities = np.full((1, 64, 64), value, "float32")
        return {"probabilities": probabilities, "quality": np.ones((1, 1), "float32")}

    request = make_request(segmenter, "onnx", tmp_path / "m.onnx", batch_size=1, precision="int8")
    monkeypatch.setattr(
        segmenter, "predict_probabilities", lambda images, _: np.ones(images.shape[:3], "float32")
    )
    arguments = segmenter, request, describe(segmenter, request), runtime, records
    if dice:
        found = quantization_data.quality(*arguments)
        assert found["keras"] == found["exported"] == round(dice, 4) and found["images"] == 12
        return
    with pytest.raises(kem.errors.InputError, match=r"0\.0000 on 12 images, the .* 0\.6667"):
        quantization_data.quality(*arguments)


@pytest.mark.skipif(
    keras.backend.backend() == "jax", reason="PyTorch shows it from another backend; it takes long"
)
def test_int8_is_calibrated_and_measured(segmenter, records, tmp_path):
    done = segmenter.export_for(
        "onnx", tmp_path / "m.onnx", modality="eye", precision="int8", calibration=records
    )
    assert done["quality"]["images"] == 2
    assert done["quality"]["measure"] == "mean Dice of the data sets"
    image = np.asarray(Image.open(records[-1].image))
    expected = segmenter.segment(image, "eye")["probabilities"]
    found = ExportedSegmenter(tmp_path / "m.onnx").segment(image)["probabilities"]
    assert 0 < np.abs(found - expected).max() < 0.1
    # The measure is that of its own masks.
    truth = np.arange(64) < 32
    dice = [
        2 * (mask & truth).sum() / (mask.sum() + 32 * 64)
        for mask in [expected >= 0.5, found >= 0.5]
    ]
    assert done["quality"]["keras"] == pytest.approx(dice[0], abs=0.01)
    assert done["quality"]["exported"] == pytest.approx(dice[1], abs=0.01)


def test_each_target_has_images_of_both_kinds(with_targets, tmp_path):
    """Three targets of one data set, and a fourth that another one labels alone."""
    names = ("disc", "artery", "cup")
    targets = tuple(TargetMask(name, tmp_path / f"{name}.png") for name in names)
    task = with_targets.specialize("eye")

    def records(count, ones, dataset):
        return [
            Record("val", "eye", dataset, tmp_path / f"{dataset}{i}.png", targets=ones)
            for i in range(count)
        ]

    veins = records(3, (TargetMask("vein", tmp_path / "v.png"),), "veins")
    eyes = records(40, targets, "eyes")
    calibrating, measuring = quantization_data.chosen_records(task, eyes + veins)
    assert not {*calibrating} & {*measuring}
    assert [sum(one in veins for one in part) for part in (calibrating, measuring)] == [1, 2]
    assert [sum(one in eyes for one in part) for part in (calibrating, measuring)] == [10, 20]
    with pytest.raises(kem.errors.InputError, match=r"received 1 of vein \(eye\)"):
        quantization_data.chosen_records(task, eyes + veins[:1])
    with pytest.raises(kem.errors.InputError, match=r"'macula'.* targets of eye are disc"):
        quantization_data.chosen_records(
            task, records(2, (TargetMask("macula", tmp_path / "m.png"),), "other")
        )


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="the artefact is the same; it takes long"
)
def test_int8_of_several_targets(with_targets, tmp_path):
    """Minus infinity and the softmax stay outside the integers, in every modality."""
    found = []
    for name in with_targets.modalities:
        for i in range(2):
            image = comparison.made_image(np.random.default_rng([i, len(name)]), (64, 64))
            drawn = with_targets.segment(image, name, postprocess=False)
            masks = drawn["masks"].reshape(64, 64, -1)
            Image.fromarray(image).save(tmp_path / f"{name}{i}.png")
            targets = []
            for k, target in enumerate(drawn["targets"]):
                path = tmp_path / f"{name}{i}_{target}.png"
                Image.fromarray((255 * masks[..., k]).astype("uint8")).save(path)
                targets.append(TargetMask("" if target == "mask" else target, path))
            record = Record("val", name, name, tmp_path / f"{name}{i}.png", targets=tuple(targets))
            found.append(record)
    path = tmp_path / "m.onnx"
    with_targets.export_for("onnx", path, precision="int8", calibration=found)
    exported = ExportedSegmenter(path)
    for record in found:
        image = np.asarray(Image.open(record.image))
        one, other = (s.segment(image, record.modality) for s in (exported, with_targets))
        assert np.abs(one["probabilities"] - other["probabilities"]).mean() < 0.05
