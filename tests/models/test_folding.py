"""A folded model gives what the other gives, and is for inference alone."""

import numpy as np
import pytest

import keras_espmedsam as kem


def _difference(one, other):
    return float(np.abs(np.asarray(one) - np.asarray(other)).max())


@pytest.fixture
def inputs():
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    return {"images": images, "modalities": np.array([2, 0], "int32")}


@pytest.mark.slow_on("jax")
def test_segmenter(build, inputs):
    segmenter = build.randomize(build.segmenter())
    folded = segmenter.fold()
    expected, found = build.run(segmenter, inputs), build.run(folded, inputs)
    scale = np.abs(expected["masks"]).max()
    assert _difference(found["masks"], expected["masks"]) < 1e-4 * max(1, scale)
    assert not [v for v in folded.variables if "moving" in v.path]
    assert [v for v in segmenter.variables if "moving" in v.path]
    assert folded.trainable_variables == []


@pytest.fixture(scope="module")
def with_targets(build):
    backbone = build.backbone(
        transformer_depth=1,
        targets={"skin": ("mole", "centre", "hair"), "eye": ("cup",)},
        exclusive={"skin": [("mole", "hair")]},
        nested={"skin": {"centre": "mole"}},
        instances={"eye": {"cup": "core"}},
        target_adapters={"skin": {"centre": 3}},
        self_prompt_targets="each",
    )
    return build.randomize(build.segmenter(backbone))


@pytest.mark.slow_on("jax", "tensorflow")
def test_several_targets_with_lora(with_targets, inputs, build):
    rng = np.random.default_rng(1)
    before = build.run(with_targets, inputs)["masks"]
    adapted = type(with_targets).from_config(with_targets.get_config())
    for new, old in zip(adapted.weights, with_targets.weights, strict=True):
        new.assign(build.array(old))
    adapted.backbone.enable_lora(2)
    for weight in adapted.weights:
        if "lora" in weight.name:
            weight.assign(rng.normal(scale=0.3, size=weight.shape).astype("float32"))
    expected = build.run(adapted, inputs)
    folded = adapted.fold()
    assert folded.target_set == with_targets.target_set
    for name, found in build.run(folded, inputs).items():
        same_logits(found, expected[name])
    closed = np.isneginf(before)
    assert closed.any() and (np.abs(expected["masks"] - before)[~closed] > 1e-3).any()
    single = adapted.specialize("eye")
    own = {name: value[:1] for name, value in inputs.items()}
    found = build.run(single, {"images": own["images"]})["masks"]
    same_logits(found, np.asarray(expected["masks"])[:1, ..., :2])


def same_logits(found, expected):
    """Equal logits up to rounding, and minus infinity in the same places."""
    found, expected = np.asarray(found), np.asarray(expected)
    closed = np.isneginf(expected)
    np.testing.assert_array_equal(np.isneginf(found), closed)
    scale = max(1, np.abs(expected[~closed]).max())
    assert _difference(found[~closed], expected[~closed]) < 1e-4 * scale


def test_it_is_not_saved(build, tmp_path):
    folded = build.segmenter().fold()
    with pytest.raises(kem.errors.InputError, match="was made from"):
        folded.save_to_preset(str(tmp_path / "preset"))
    with pytest.raises(kem.errors.InputError, match="change the model that it was made from"):
        folded.save(tmp_path / "folded.keras")


@pytest.mark.slow_on("jax", "tensorflow")
def test_classifier():
    backbone = kem.models.TiCBackbone(
        hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4), kernel_size=3
    )
    classifier = kem.models.TiCImageClassifier(backbone, num_classes=3)
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    expected = classifier.predict_on_batch(images)
    assert _difference(classifier.fold().predict_on_batch(images), expected) < 1e-4
