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


def test_segmenter(build, inputs):
    segmenter = build.randomize(build.segmenter())
    folded = segmenter.fold()
    expected, found = build.run(segmenter, inputs), build.run(folded, inputs)
    scale = np.abs(expected["masks"]).max()
    assert _difference(found["masks"], expected["masks"]) < 1e-4 * max(1, scale)
    assert not [v for v in folded.variables if "moving" in v.path]
    assert [v for v in segmenter.variables if "moving" in v.path]
    assert folded.trainable_variables == []


def test_it_is_not_saved(build, tmp_path):
    folded = build.segmenter().fold()
    with pytest.raises(kem.errors.InputError, match="was made from"):
        folded.save_to_preset(str(tmp_path / "preset"))


def test_classifier():
    backbone = kem.models.TiCBackbone(
        hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4), kernel_size=3
    )
    classifier = kem.models.TiCImageClassifier(backbone, num_classes=3)
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    expected = classifier.predict_on_batch(images)
    assert _difference(classifier.fold().predict_on_batch(images), expected) < 1e-4
