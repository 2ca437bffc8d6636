import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.built_in_presets import builtin_presets
from keras_espmedsam.hub.checksums import check_checksums

pytestmark = pytest.mark.usefixtures("untraced_tensorflow")

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype="uint8")
Segmenter = kem.models.ESPMedSAMImageSegmenter


@pytest.fixture(scope="module")
def folder(segmenter, tmp_path_factory):
    folder = tmp_path_factory.mktemp("preset")
    segmenter.save_to_preset(folder)
    return folder


@pytest.mark.slow_on("jax")
def test_a_saved_preset_gives_the_same_masks(segmenter, folder, build):
    again = Segmenter.from_preset(folder)
    for old, new in zip(segmenter.weights, again.weights, strict=True):
        np.testing.assert_array_equal(build.array(old), build.array(new))
    # TensorFlow adds in another order where memory is aligned otherwise.
    np.testing.assert_allclose(
        again.segment(IMAGE, "eye")["probabilities"],
        segmenter.segment(IMAGE, "eye")["probabilities"],
        atol=1e-6,
    )
    assert again.modalities == segmenter.modalities


def test_backbone_and_preprocessing_load_from_the_same_preset(segmenter, folder, build):
    backbone = kem.models.ESPMedSAMBackbone.from_preset(folder)
    for old, new in zip(segmenter.backbone.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(build.array(old), build.array(new))
    converter = kem.models.ESPMedSAMImageConverter.from_preset(folder)
    assert converter.get_config() == segmenter.preprocessor.image_converter.get_config()


def test_dtype_reaches_the_encoder(folder):
    segmenter = Segmenter.from_preset(folder, dtype="bfloat16")
    encoder = segmenter.backbone.image_encoder
    kernel = encoder.get_layer("stage_1_block_0").mlp.dense_layers[0].kernel
    assert keras.backend.standardize_dtype(kernel.dtype) == "bfloat16"


@pytest.mark.slow_on("tensorflow")
def test_image_shape_reaches_the_encoder(folder):
    backbone = kem.models.ESPMedSAMBackbone.from_preset(folder, image_shape=(96, 64, 3))
    assert backbone.input["images"].shape == (None, 96, 64, 3)


def test_keras_file_keeps_the_compiled_model(segmenter, tmp_path):
    model = type(segmenter).from_config(segmenter.get_config())
    model.set_weights(segmenter.get_weights())
    model.compile(keras.optimizers.Adam(1e-3))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.segment(IMAGE, "skin")["probabilities"],
        segmenter.segment(IMAGE, "skin")["probabilities"],
        atol=1e-6,
    )
    assert isinstance(again.optimizer, kem.optimizers.DecoupledOptimizer)
    assert float(again.optimizer.learning_rate) == pytest.approx(1e-3)
    assert isinstance(again.optimizer.optimizer, keras.optimizers.Adam)


def test_builtin_presets_are_listed():
    presets = Segmenter.presets
    assert {"espmedsam_tinyvit_1024", "espmedsam_nano_256"} <= set(presets)
    for entry in presets.values():
        assert entry["metadata"]["description"] and entry["metadata"]["params"] > 0
    assert presets["espmedsam_nano_256"]["weights"]


# Of weights that tests/presets compare on every backend.
@pytest.mark.slow_on("jax", "tensorflow")
def test_nano_is_small_and_segments():
    entry = Segmenter.presets["espmedsam_nano_256"]
    assert entry["metadata"]["params"] <= 6_000_000
    segmenter = Segmenter.from_preset("espmedsam_nano_256")
    assert segmenter.count_params() == entry["metadata"]["params"]
    assert len(segmenter.modalities) == 6
    weights = Path(entry["path"]) / "model.weights.h5"
    assert weights.stat().st_size <= 26_000_000
    # Small bright discs on black are what it knows as nuclei.
    rows, columns = np.mgrid[:256, :256]
    discs = (rows % 64 - 32) ** 2 + (columns % 64 - 32) ** 2 < 8**2
    image = np.where(discs, 120, 10).astype("uint8")
    found = segmenter.segment(image, "microscopy")["masks"]
    assert 2 * (found & discs).sum() / (found.sum() + discs.sum()) > 0.8


@pytest.mark.slow_on("jax", "tensorflow")
def test_published_configuration_without_weights():
    with pytest.raises(InputError, match="convert espmedsam"):
        Segmenter.from_preset("espmedsam_tinyvit_1024")
    segmenter = Segmenter.from_preset("espmedsam_tinyvit_1024", load_weights=False)
    assert segmenter.preprocessor.image_converter.image_size == (1024, 1024)


def test_an_unknown_name_lists_the_known_ones(tmp_path):
    known = "espmedsam_nano_256, .*espmedsam_tic_native, espmedsam_tinyvit_1024, tic_base"
    with pytest.raises(InputError, match=known):
        Segmenter.from_preset("espmedsam_nona_256")
    with pytest.raises(InputError, match=r"no config\.json"):
        Segmenter.from_preset(tmp_path)


def test_a_name_may_state_a_version():
    load = kem.models.TiCImageConverter.from_preset
    newest = builtin_presets()["tic_tiny_modality"]["version"]
    assert (
        load(f"tic_tiny_modality@{newest}").get_config() == load("tic_tiny_modality").get_config()
    )
    with pytest.raises(InputError, match=f"has no version '99'; it has .*{newest}"):
        load("tic_tiny_modality@99")


def test_a_damaged_preset_is_named(folder, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(folder, damaged)
    weights = damaged / "model.weights.h5"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(
        InputError, match=r"The file model\.weights\.h5 of .* is damaged or changed"
    ):
        Segmenter.from_preset(damaged)
    # The architecture alone is whole.
    Segmenter.from_preset(damaged, load_weights=False)
    weights.unlink()
    with pytest.raises(InputError, match=r"lacks the file model\.weights\.h5"):
        Segmenter.from_preset(damaged)
    # A preset of another program may have no checksums.
    (damaged / "SHA256SUMS").unlink()
    weights.write_bytes(content[:2000])
    with pytest.raises(InputError, match="incomplete, damaged or malicious"):
        Segmenter.from_preset(damaged)


@pytest.mark.slow_on("tensorflow")
def test_a_preset_saved_anew_has_new_checksums(segmenter, tmp_path):
    segmenter.save_to_preset(tmp_path)
    (tmp_path / "SHA256SUMS").write_text("0  model.weights.h5\n")
    with pytest.raises(InputError, match="damaged or changed"):
        Segmenter.from_preset(tmp_path)
    segmenter.save_to_preset(tmp_path)
    Segmenter.from_preset(tmp_path)


@pytest.mark.parametrize("name", sorted(builtin_presets()))
def test_builtin_presets_are_as_they_were_published(name):
    folder = Path(builtin_presets()[name]["path"])
    assert (folder / "SHA256SUMS").is_file()
    check_checksums(folder)


def test_config_files_are_plain_json(folder):
    config = json.loads((folder / "config.json").read_text())
    assert config["registered_name"] == "keras_espmedsam>ESPMedSAMBackbone"
    metadata = json.loads((folder / "metadata.json").read_text())
    assert metadata["tasks"] == ["ImageSegmenter"]
