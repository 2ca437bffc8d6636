"""What the description says of a model's targets, and what it may not say."""

import json

import pytest

import keras_espmedsam as kem
from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.description import describe, preset_name, targets_of
from keras_espmedsam.export.request import make_request

NEW = {"targets", "channels", "exclusive", "nested", "instances", "postprocessing"}


def _described(task, tmp_path, **options):
    request = make_request(task, "onnx", tmp_path / "m.onnx", **options)
    return json.loads(json.dumps(describe(task, request)))


def test_one_unnamed_target_is_described_as_in_version_0_1_0(segmenter, tmp_path):
    images = _described(segmenter, tmp_path)
    assert not NEW & set(images)
    assert images["outputs"]["masks"]["shape"] == [None, 64, 64]
    logits = _described(segmenter, tmp_path, flavor="logits")["outputs"]
    assert logits["masks"] == {"dtype": "float32", "shape": [None, 64, 64, 1]}
    assert logits["patches"] == {"dtype": "float32", "shape": [None, 2, 2, 1]}
    assert targets_of(images) == segmenter.target_set


def test_several_targets_are_described_whole(with_targets, tmp_path):
    found = _described(with_targets, tmp_path)
    assert set(found) >= NEW
    assert found["targets"]["eye"] == ["disc", "artery", "cup", "vein"]
    assert found["targets"]["skin"] == ["mask"]
    assert found["channels"]["slide"] == ["nuclei", "nuclei:boundary"]
    assert found["postprocessing"] == with_targets.postprocessing
    shapes = {name: one["shape"] for name, one in found["outputs"].items()}
    size = [None, 64, 64]
    assert shapes == {"masks": [*size, 4], "probabilities": [*size, 4], "labels": size}
    assert "hidden maps" in found["outputs"]["probabilities"]["values"]
    assert targets_of(found) == with_targets.target_set
    any_size = _described(with_targets, tmp_path, size="any", flavor="logits")
    assert any_size["outputs"]["masks"]["shape"] == [None, None, None, 4]
    assert targets_of(any_size) == with_targets.target_set


EYE = {"modalities": ["eye"], "flavor": "images", "targets": {"eye": ["disc", "cup"]}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": {"eye": ["disc"]}}, "need the channels disc, cup, but it lists disc"),
        ({"channels": {"eye": ["cup", "disc"]}}, "need the channels disc, cup"),
        ({"channels": {}}, "but it lists none"),
        ({"outputs": {"probabilities": {"shape": [None, 8, 8]}}}, "have 1 channel, but .* need 2"),
        ({"outputs": {"probabilities": {"shape": [None, 8, 8, 3]}}}, "have 3 channels, but"),
        (
            {"flavor": "logits", "outputs": {"masks": {"shape": [None, 8, 8, 1]}}},
            "masks have 1 channel, but its targets need 2",
        ),
        ({"targets": {"ear": ["disc"]}}, "targets of the modality 'ear'"),
        ({"targets": {"eye": ["disc", "disc"]}}, "expected a list of one or more different names"),
        ({"nested": {"eye": {"cup": "rim"}}}, "with the target 'rim'"),
        ({"exclusive": {"eye": [["disc"]]}}, "groups of two or more"),
        ({"instances": {"eye": {"cup": "edge"}}}, "expected one of boundary"),
    ],
)
def test_targets_that_do_not_fit_are_one_sentence(changes, words):
    assert targets_of(EYE) == Targets({"eye": ("disc", "cup")})
    with pytest.raises(InputError, match=words):
        targets_of({**EYE, **changes})


@pytest.mark.parametrize(
    ("preset", "name"), [(None, None), ("C:\\trials\\eye", "eye"), ("hf://lab/eye", "hf://lab/eye")]
)
def test_no_path_of_the_machine_is_in_it(preset, name):
    assert preset_name(preset) == name


def test_calibration_and_guarantees_are_described(with_targets, tmp_path):
    recall = {"level": 0.9, "threshold": 0.25, "num_images": 20, "datasets": ["clinic"]}
    calibration = {"eye": {"disc": {"temperature": 1.5}}}
    guarantees = {"eye": {"disc": {"recall": recall}}}
    task = type(with_targets)(
        with_targets.backbone,
        with_targets.preprocessor,
        probability_calibration=calibration,
        guarantees=guarantees,
    )
    found = _described(task, tmp_path)
    assert found["probability_calibration"] == calibration
    assert found["guarantees"] == guarantees
    rounded = _described(task, tmp_path, precision="int8", size=(64, 64))
    assert rounded["probability_calibration"] == calibration
    assert "guarantees" not in rounded  # It is another model's.
    assert "guarantees" not in _described(task, tmp_path, size=(96, 96))
    converter = kem.models.ESPMedSAMImageConverter(
        image_size=(64, 64), image_sizes={"eye": (96, 96)}
    )
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    of_sizes = type(task)(
        task.backbone,
        preprocessor,
        guarantees={**guarantees, "skin": {"mask": {"recall": recall}}},
    )
    assert list(_described(of_sizes, tmp_path)["guarantees"]) == ["skin"]
    assert list(_described(of_sizes, tmp_path, size=(96, 96))["guarantees"]) == ["eye"]
    plain = _described(with_targets, tmp_path)
    assert not {"probability_calibration", "guarantees"} & set(plain)
