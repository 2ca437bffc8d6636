"""The recipes in examples/configs say what the presets of their names are."""

import json
from pathlib import Path

import pytest

from keras_espmedsam.distillation import DistillConfig
from keras_espmedsam.hub.built_in_presets import presets_dir
from keras_espmedsam.training import MEDICAL_RANGES, TrainConfig
from keras_espmedsam.training.build_segmenter import build_segmenter
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.data.make_augmentation import make_augmentation

CONFIGS = Path(__file__).resolve().parents[2] / "examples" / "configs"


@pytest.fixture
def recipe(monkeypatch, tmp_path):
    """`recipe(name)`: a configuration, as where the data lie."""
    monkeypatch.setenv("ESPMEDSAM_DATA", str(tmp_path))
    for name in ("index.csv", "index2.csv"):
        (tmp_path / name).touch()

    def load(name):
        settings = DistillConfig if name.endswith("distill.yaml") else TrainConfig
        return load_settings(settings, CONFIGS / name)

    return load


def test_all_can_be_read(recipe):
    names = [str(path.relative_to(CONFIGS)) for path in CONFIGS.glob("*/*.yaml")]
    assert len(names) >= 4
    # The two others show every key; tests/training and tests/distillation read them.
    for name in (*names, "targets.yaml", "pretrained.yaml", "pretrained_distill.yaml"):
        assert recipe(name).phases


def without_names(value):
    if isinstance(value, dict):
        return {key: without_names(one) for key, one in value.items() if key != "name"}
    return [without_names(one) for one in value] if isinstance(value, list | tuple) else value


def test_the_native_recipe_makes_the_native_preset(recipe):
    config = recipe("tic_native/train.yaml")
    last = config.phases[-1]
    segmenter = build_segmenter(config.model, last.image_size, last.resize_mode)
    held = json.loads((presets_dir() / "espmedsam_tic_native" / "config.json").read_text())
    made = json.loads(json.dumps(segmenter.backbone.get_config()))
    for own, expected in (
        (made["image_encoder"]["config"], held["config"]["image_encoder"]["config"]),
        (made, held["config"]),
    ):
        own, expected = without_names(own), without_names(expected)
        for key in expected.keys() - {"image_encoder", "dtype"}:
            assert own[key] == expected[key], key
    assert segmenter.preprocessor.image_converter.image_size is None


def test_images_at_native_scale_are_magnified_more(recipe):
    config = recipe("tic_native/train.yaml")
    first, *native = config.phases
    assert first.augmentation == "medical" and all(one.augmentation is None for one in native)
    made = make_augmentation(config.augmentation, tuple(MEDICAL_RANGES))
    scales = {"fundus": (0.8, 2.6), "microscopy": (0.7, 3.0)}
    for name, medical in MEDICAL_RANGES.items():
        own = made[name]
        assert own.scale == scales.get(name, (0.7, 1.4))
        assert own.blur == (0.2 if name == "microscopy" else 0.0)
        for key in ("horizontal_flip", "vertical_flip", "right_angles", "rotation", "shift"):
            assert getattr(own, key) == getattr(medical, key)
        for key in ("stretch", "brightness", "contrast", "saturation"):
            assert getattr(own, key) == getattr(medical, key)
