"""Several targets in images of any size, with a real model."""

import json

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.load_models import stored_targets

SIZE = (32, 32)
RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (*SIZE, 3), dtype="uint8")
LARGE = RNG.integers(0, 256, (50, 40, 3), dtype="uint8")


@pytest.fixture(scope="module")
def model(build):
    image = keras.Input((*SIZE, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))
    backbone = build.backbone(
        encoder,
        transformer_depth=1,
        targets={"skin": ("a", "b", "c", "d"), "lung": ("lungs", "heart"), "eye": "cells"},
        exclusive={"skin": [("a", "b")]},
        nested={"skin": {"d": "c"}},
        instances={"eye": ["cells"]},
    )
    return build.randomize(build.segmenter(backbone, image_size=SIZE))


@pytest.fixture(autouse=True)
def _untraced(build):
    with build.untraced():
        yield


def test_probabilities_are_those_of_the_logits(model, build):
    converter = model.preprocessor.image_converter
    inputs = np.stack([converter.convert(RGB)] * 3)
    indices = np.arange(3, dtype="int32")
    logits = build.array(build.run(model, model.model_inputs(inputs, indices))["masks"])
    expected = np.where(np.isinf(logits), 0, 1 / (1 + np.exp(-logits)))
    found = model.predict_probabilities(inputs, indices)
    assert found.shape == (3, *SIZE, 4) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert not found[1, ..., 2:].any() and not found[2, ..., 2:].any() and found[2, ..., 1].any()
    result = model.segment([RGB] * 3, list(model.modalities), batch_size=3)
    names = [("a", "b", "c", "d"), ("lungs", "heart"), ("cells",)]
    assert result["targets"] == names
    for number, own in enumerate(names):
        drawn = expected[number, ..., : len(own)] if own[1:] else expected[number, ..., 0]
        np.testing.assert_allclose(result["probabilities"][number], drawn, atol=1e-5)


def test_images_of_their_own_sizes_with_several_modalities(model):
    images = [LARGE, RGB, LARGE[:20]]
    result = model.segment(images, ["skin", "eye", "lung"], 0.2, batch_size=3, mirror=True)
    assert [mask.shape for mask in result["masks"]] == [(50, 40, 4), (32, 32), (20, 40, 2)]
    skin = result["masks"][0]
    assert not (skin[..., 0] & skin[..., 1]).any() and not (skin[..., 3] & ~skin[..., 2]).any()
    assert result["probabilities"][0][..., :2].sum(-1).max() <= 1 + 1e-5
    assert [sorted(one) for one in result["instances"]] == [[], ["cells"], []]
    np.testing.assert_array_equal(result["instances"][1]["cells"] > 0, result["masks"][1])
    # Three again, because JAX compiles each batch size.
    heart = model.segment([images[2]] * 3, "lung", 0.2, mirror=True, targets="heart")
    np.testing.assert_allclose(
        heart["probabilities"][0], result["probabilities"][2][..., 1], atol=1e-5
    )


def test_damaged_weights_are_found_and_absent_channels_are_no_damage(model):
    (weight, *_) = [one for one in model.weights if "hypernetwork" in one.path]
    before = keras.ops.convert_to_numpy(weight)
    try:
        weight.assign(np.full(before.shape, np.nan, "float32"))
        with pytest.raises(InputError, match="NaN or infinite"):
            model.segment([RGB] * 3, "eye")
    finally:
        weight.assign(before)


def test_a_preset_tells_its_targets_before_it_is_loaded(model, tmp_path):
    model.save_to_preset(str(tmp_path))
    assert stored_targets(tmp_path) == model.target_set
    assert stored_targets("espmedsam_nano_256@1").is_default
    assert stored_targets("tic_tiny_modality") is None
    path = tmp_path / "eye.onnx"
    assert stored_targets(path) is None
    description = {"modalities": list(model.modalities), **model.target_set.config()}
    path.with_name("eye.onnx.json").write_text(json.dumps(description))
    assert stored_targets(path) == model.target_set
