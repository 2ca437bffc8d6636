"""The commands with a real model, saved as a preset; the other tests here use a fake."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from keras_espmedsam import models
from keras_espmedsam.errors import InputError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny segmenter of two modalities, and its preset's folder."""
    encoder = models.TinyViTBackbone(
        hidden_dims=(8, 8, 16, 16),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 2),
        window_sizes=(4, 4, 4),
        neck_dim=16,
        num_modalities=2,
        adapter_ratio=1,
    )
    backbone = models.ESPMedSAMBackbone(
        encoder,
        modalities=("xray", "fundus"),
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=16,
    )
    rng = np.random.default_rng(2)
    for weight in backbone.weights:
        # Away from the tame initial values, so that the masks hold both values.
        positive = "variance" in weight.path or "gamma" in weight.path
        value = rng.normal(scale=0.3, size=weight.shape)
        weight.assign(1 + np.abs(value) if positive else value)
    converter = models.ESPMedSAMImageConverter(image_size=(64, 64))
    segmenter = models.ESPMedSAMImageSegmenter(
        backbone, models.ESPMedSAMImageSegmenterPreprocessor(converter)
    )
    folder = tmp_path_factory.mktemp("preset")
    segmenter.save_to_preset(folder)
    return segmenter, folder


@pytest.mark.slow_on("jax")
def test_segment_and_evaluate(saved, run):
    segmenter, preset = saved
    array = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    Image.fromarray(array).save("eye.png")
    expected = segmenter.segment(array, "fundus")
    # Computed in another program of the same model: only a pixel at the very threshold may differ.
    sure = np.abs(expected["probabilities"] - 0.5) > 1e-4
    assert expected["masks"].any() and not expected["masks"].all() and sure.mean() > 0.9

    result = run("segment", "eye.png", "--modality", "fundus", "--preset", preset)
    assert result.exit_code == 0, result.output
    with Image.open("masks/eye_mask.png") as image:
        mask = np.asarray(image)
    assert mask.shape == (50, 70)
    assert set(np.unique(mask)) == {0, 255}
    np.testing.assert_array_equal(mask[sure] == 255, expected["masks"][sure])

    # Its own mask as the truth: the figures are known.
    Path("index.csv").write_text(
        "split,modality,dataset,image,mask\ntest,fundus,eyes,eye.png,masks/eye_mask.png\n"
    )
    result = run("evaluate", "--data", "index.csv", "--preset", preset, "--output", "report.json")
    assert result.exit_code == 0, result.output
    report = json.loads(Path("report.json").read_text())
    eyes = report["datasets"]["eyes"]
    assert (eyes["modality"], eyes["n"]) == ("fundus", 1)
    for measure in ("dice", "iou", "precision", "recall"):
        assert eyes[measure]["mean"] == pytest.approx(1, abs=1e-3), measure
    assert "eyes" in result.stdout


@pytest.mark.parametrize("command", ["segment", "evaluate"])
def test_a_damaged_preset(saved, run, image, command):
    damaged = Path("damaged")
    shutil.copytree(saved[1], damaged)
    weights = damaged / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:2000])
    image("eye.png")
    Path("index.csv").write_text(
        "split,modality,dataset,image,mask\ntest,fundus,eyes,eye.png,eye.png\n"
    )
    arguments = {
        "segment": ("eye.png", "--modality", "fundus"),
        "evaluate": ("--data", "index.csv", "--output", "report.json"),
    }[command]

    result = run(command, *arguments, "--preset", damaged)

    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: The file model.weights.h5 of the preset damaged is damaged or")
    assert not Path("masks").exists() and not Path("report.json").exists()


@pytest.mark.slow_on("jax", "tensorflow")
def test_the_built_in_recogniser_finds_the_modality(saved, run):
    """A fundus photograph is recognised and segmented as one; a cup of coffee is refused."""
    segmenter, preset = saved
    retina, coffee = data.retina()[::4, ::4], data.coffee()
    Image.fromarray(retina).save("eye.png")
    Image.fromarray(coffee).save("coffee.png")
    expected = segmenter.segment(retina, "auto")
    assert expected["modalities"] == "fundus" and expected["confidences"] > 0.9
    sure = np.abs(expected["probabilities"] - 0.5) > 1e-4
    with pytest.raises(InputError, match=r"The image was not recognised: \w+ 0\.\d\d, "):
        segmenter.segment(coffee, "auto")

    # Batches of one, as above: on JAX another size is compiled for seconds.
    result = run(
        *("segment", "coffee.png", "eye.png", "--preset", preset, "--batch-size", "1"),
    )

    assert result.exit_code == 1, result.output
    assert result.stdout.splitlines() == [str(Path("masks/eye_mask.png"))]
    refused, recognised, _ = result.stderr.splitlines()
    assert refused.startswith("error: coffee.png was not recognised: ")
    name, confidence = re.fullmatch(r"eye\.png: (\w+) \((0\.\d{3})\)", recognised).groups()
    assert name == "fundus"
    assert float(confidence) == pytest.approx(expected["confidences"], abs=2e-3)
    with Image.open("masks/eye_mask.png") as image:
        mask = np.asarray(image)
    np.testing.assert_array_equal(mask[sure] == 255, expected["masks"][sure])
