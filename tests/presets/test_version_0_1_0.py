"""What version 0.1.0 saved loads and gives the same; see version_0_1_0/README.md."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_espmedsam as kem

SAVED = Path(__file__).resolve().parent / "version_0_1_0"
TOLERANCE = 1e-5
MODALITIES = {
    "segmenter": ("skin", "eye", "lung"),
    "tic_segmenter": ("skin", "eye"),
    "compiled": ("skin", "eye"),
}


@pytest.fixture(scope="module")
def outputs():
    with np.load(SAVED / "outputs.npz") as file:
        return {name: file[name] for name in file.files}


def unpack(name, folder):
    with zipfile.ZipFile(SAVED / f"{name}.zip") as packed:
        packed.extractall(folder)
    return folder / name


def rename_modules(value):
    """A config whose classes stand in modules that are not there."""
    if isinstance(value, dict):
        value = {key: rename_modules(part) for key, part in value.items()}
        if str(value.get("module")).startswith("keras_espmedsam"):
            value["module"] = "keras_espmedsam.no_such_module"
    elif isinstance(value, list):
        value = [rename_modules(part) for part in value]
    return value


def rename_in_preset(folder):
    for path in folder.glob("*.json"):
        path.write_text(json.dumps(rename_modules(json.loads(path.read_text()))))
    (folder / "SHA256SUMS").unlink()


def rename_in_file(path):
    with zipfile.ZipFile(path) as file:
        parts = {name: file.read(name) for name in file.namelist()}
    parts["config.json"] = json.dumps(rename_modules(json.loads(parts["config.json"])))
    with zipfile.ZipFile(path, "w") as file:
        for name, content in parts.items():
            file.writestr(name, content)


def assert_same_masks(model, name, outputs):
    assert model.modalities == MODALITIES[name]
    # As it was saved: one image at a time, whose shape is the same for every modality.
    for modality in model.modalities:
        np.testing.assert_allclose(
            model.segment(outputs["image"], modality)["probabilities"],
            outputs[f"{name}/{modality}"],
            rtol=0,
            atol=TOLERANCE,
            err_msg=modality,
        )


# Keras finds a class by the name under which it is registered, so a module may move.
@pytest.mark.parametrize("moved", (False, True))
@pytest.mark.parametrize("name", ("segmenter", "tic_segmenter"))
def test_a_segmenter(name, moved, outputs, tmp_path):
    folder = unpack(name, tmp_path)
    if moved:
        rename_in_preset(folder)
    segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset(folder)
    assert_same_masks(segmenter, name, outputs)


@pytest.mark.parametrize("moved", (False, True))
def test_a_classifier(moved, outputs, tmp_path):
    folder = unpack("classifier", tmp_path)
    if moved:
        rename_in_preset(folder)
    classifier = kem.models.TiCImageClassifier.from_preset(folder)
    found = classifier.classify(outputs["image"])
    np.testing.assert_allclose(
        found["probabilities"], outputs["classifier"], rtol=0, atol=TOLERANCE
    )
    assert classifier.class_names == ("skin", "eye", "none")
    assert classifier.min_confidence == 0.4


@pytest.mark.parametrize("moved", (pytest.param(False, marks=pytest.mark.slow_on("jax")), True))
def test_a_compiled_segmenter(moved, outputs, tmp_path):
    path = unpack("compiled.keras", tmp_path)
    if moved:
        rename_in_file(path)
    # Keras does not import a class by itself; with the models come their losses and optimisers.
    model_class = kem.models.ESPMedSAMImageSegmenter
    segmenter = keras.saving.load_model(path)
    assert isinstance(segmenter, model_class)
    assert_same_masks(segmenter, "compiled", outputs)

    # Loss, metrics and the optimizer's state come along.
    optimizer = segmenter.optimizer
    assert isinstance(optimizer, kem.optimizers.DecoupledOptimizer)
    assert isinstance(optimizer.optimizer, keras.optimizers.AdamW)
    assert int(optimizer.iterations) == 2
    slots = [keras.ops.convert_to_numpy(slot).astype("float64") for slot in optimizer.variables]
    assert sorted(slot.size for slot in slots) == outputs["compiled_optimizer/sizes"].tolist()
    np.testing.assert_allclose(
        sorted((slot**2).sum() for slot in slots),
        outputs["compiled_optimizer/squares"],
        rtol=TOLERANCE,
    )
    if not moved:
        x = {"images": outputs["image"][None], "modalities": ["eye"]}
        found = segmenter.test_on_batch(x, outputs["mask"][None], return_dict=True)
        expected = {
            name.partition("/")[2]: value
            for name, value in outputs.items()
            if name.startswith("compiled_evaluated/")
        }
        assert set(found) == set(expected)
        for name, value in expected.items():
            assert float(found[name]) == pytest.approx(float(value), abs=TOLERANCE), name


def test_the_module_is_in_the_files(tmp_path):
    """Else the tests above of a module that moved would change nothing."""
    for name in ("segmenter", "tic_segmenter", "classifier"):
        config = json.loads((unpack(name, tmp_path) / "task.json").read_text())
        assert config["module"].startswith("keras_espmedsam.models.")
        assert config["registered_name"] == f"keras_espmedsam>{config['class_name']}"
