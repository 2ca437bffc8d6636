"""A replaced preset stays as an earlier version; its weights go into a wheel of their own."""

import importlib
import json

import h5py
import numpy as np
import pytest


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend("tools")
    return importlib.import_module


@pytest.fixture
def versions(tool, tmp_path, monkeypatch):
    """The module, with numbers stored of the preset eye."""
    module = tool("preset_versions")
    monkeypatch.setattr(module.preset_outputs, "STORED", tmp_path / "outputs.npz")
    np.savez(tmp_path / "outputs.npz", **{"eye/masks": np.ones(2), "ear/masks": np.zeros(2)})
    return module


def write(folder, values=None, name="backbone", **entry):
    """Write a preset with these weights, or without."""
    folder.mkdir()
    config = {"class_name": "Backbone", "config": {"name": name, "depth": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preset.json").write_text(json.dumps(entry))
    if values is not None:
        with h5py.File(folder / "model.weights.h5", "w") as file:
            file["layers/dense/0"] = np.array(values, "float32")
    return folder


def test_other_weights_are_a_new_version(versions, tmp_path):
    (tmp_path / "presets").mkdir()
    eye = tmp_path / "presets" / "eye"
    assert versions.keep_earlier(write(tmp_path / "first", [1, 2]), eye, True) == 1
    write(eye, [1, 2])
    assert versions.keep_earlier(write(tmp_path / "same", [1, 2], "other"), eye, True) == 1
    assert versions.keep_earlier(write(tmp_path / "second", [1, 3]), eye, True) == 2
    assert [path.name for path in eye.parent.iterdir()] == ["eye@1"]
    assert set(versions.preset_outputs.stored_outputs()) == {"eye@1", "ear"}
    write(eye, [1, 3], version=2)
    assert versions.keep_earlier(write(tmp_path / "third", [1, 2]), eye, True) == 3
    assert sorted(path.name for path in eye.parent.iterdir()) == ["eye@1", "eye@2"]


def test_other_masks_of_the_same_weights_are_a_new_version(versions, tmp_path):
    def written(name, postprocessing, intensity="auto", sizes=None, **options):
        folder = write(tmp_path / name, [1, 2])
        task = {"config": {"name": name, "postprocessing": postprocessing, **options}}
        (folder / "task.json").write_text(json.dumps(task))
        converter = {"config": {"name": name, "intensity": intensity, **(sizes or {})}}
        (folder / "image_converter.json").write_text(json.dumps(converter))
        return folder

    eye = written("eye", {"fundus": {"disc": {"min_area": 4}}})
    same = written("same", {"fundus": {"disc": {"min_area": 4}}})
    assert versions.keep_earlier(same, eye, True) == 1
    other = written("other", {"fundus": {"disc": {"min_area": 8}}})
    assert not versions.same_model(other, eye, True)
    for number, option in enumerate(("probability_calibration", "guarantees", "quality")):
        cleaned = {"fundus": {"disc": {"min_area": 4}}}
        other = written(f"calibrated_{number}", cleaned, **{option: {"fundus": {"disc": {}}}})
        assert not versions.same_model(other, eye, True)
    cleaned = {"fundus": {"disc": {"min_area": 4}}}
    none = written("no_sizes", cleaned, sizes={"image_sizes": {}})
    assert versions.same_model(none, eye, True)
    other = written("sizes", cleaned, sizes={"image_sizes": {"fundus": [512, 512]}})
    assert not versions.same_model(other, eye, True)
    other = written("brightness", {"fundus": {"disc": {"min_area": 4}}}, "full")
    assert versions.keep_earlier(other, eye, True) == 2


def test_without_weights_the_configuration_counts_but_not_its_names(versions, tmp_path):
    eye = write(tmp_path / "eye")
    assert versions.keep_earlier(write(tmp_path / "a", name="backbone_2"), eye, False) == 1
    other = write(tmp_path / "b")
    (other / "config.json").write_text('{"class_name": "Backbone", "config": {"depth": 3}}')
    assert versions.keep_earlier(other, eye, False) == 2


def test_an_earlier_version_is_never_replaced(versions, tmp_path):
    eye = write(tmp_path / "eye", [1])
    write(tmp_path / "eye@1", [2])
    with pytest.raises(SystemExit, match="eye@1 exists"):
        versions.keep_earlier(write(tmp_path / "a", [3]), eye, True)
    assert eye.exists()


def test_the_wheel_of_earlier_versions_holds_their_weights_alone(tool, tmp_path):
    module = tool("earlier_presets")
    presets = tmp_path / "presets"
    presets.mkdir()
    write(presets / "eye", [3])
    write(presets / "eye@1", [1])
    write(presets / "ear@2")
    weights = module.earlier_weights(presets)
    assert [str(file.relative_to(presets)) for file in weights] == ["eye@1/model.weights.h5"]
    built = tmp_path / "project"
    built.mkdir()
    module.write_project(built, weights)
    files = {str(file.relative_to(built)) for file in built.rglob("*") if file.is_file()}
    packed = "keras_espmedsam/presets/eye@1/model.weights.h5"
    assert files == {"pyproject.toml", "README.md", packed}
    assert (built / packed).read_bytes() == weights[0].read_bytes()
    assert 'name = "keras-espmedsam-earlier-presets"' in (built / "pyproject.toml").read_text()
    assert "- `eye@1`" in (built / "README.md").read_text()
