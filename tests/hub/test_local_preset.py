"""Presets at an address: downloaded, and then checked as a folder. No test opens a connection."""

import fnmatch
import json
import shutil
import sys
import types

import huggingface_hub
import kagglehub
import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.local_preset import local_preset, needs_tensorflow
from keras_espmedsam.inference.load_models import check_name, load_task

Backbone = kem.models.TiCBackbone
ADDRESSES = ("hf://lab/eye", "kaggle://lab/eye/keras/nano", "modelscope://lab/eye")


@pytest.fixture(scope="module")
def backbone():
    return Backbone(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3, neck_dim=8, mlp_ratio=1
    )


@pytest.fixture(scope="module")
def saved(backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "saved"
    backbone.save_to_preset(folder)
    (folder / "model.safetensors").write_bytes(b"of somebody else")
    return folder


@pytest.fixture
def hubs(saved, tmp_path, monkeypatch):
    """All three hubs hold the same preset, and put it into the same cache."""
    there, cache = tmp_path / "there", tmp_path / "cache"
    shutil.copytree(saved, there)
    asked = []

    def download(handle, path=None, allow_patterns=("*",), **options):
        asked.append(handle)
        assert path is None
        for file in there.iterdir():
            if any(fnmatch.fnmatch(file.name, pattern) for pattern in allow_patterns):
                cache.mkdir(exist_ok=True)
                shutil.copy(file, cache)
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(kagglehub, "model_download", download)
    module = types.SimpleNamespace(snapshot_download=download)
    for name in ("modelscope", "modelscope.hub", "modelscope.hub.snapshot_download"):
        monkeypatch.setitem(sys.modules, name, module)
    return types.SimpleNamespace(there=there, cache=cache, asked=asked)


def _edit(hubs, **settings):
    file = hubs.there / "config.json"
    content = json.loads(file.read_text())
    content["config"].update(settings)
    file.write_text(json.dumps(content))


@pytest.mark.parametrize("address", ADDRESSES)
def test_it_gives_what_was_saved(backbone, hubs, address):
    found = Backbone.from_preset(address)
    for old, new in zip(backbone.weights, found.weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (old, new)))
    assert hubs.asked == [address.partition("://")[2]]


def test_it_is_checked_as_a_folder(hubs, address=ADDRESSES[0]):
    _edit(hubs, depths=[2, 1])
    with pytest.raises(InputError, match=r"config\.json of the preset .* is damaged or changed"):
        Backbone.from_preset(address)
    (hubs.there / "SHA256SUMS").unlink()
    shutil.rmtree(hubs.cache)
    with pytest.raises(InputError, match="cannot be read"):
        Backbone.from_preset(address)
    _edit(hubs, depths=[10**6, 1])
    with pytest.raises(InputError, match="TiCBackbone received depths="):
        Backbone.from_preset(address)
    with pytest.raises(InputError, match="TiCBackbone received depths="):
        check_name(address)
    _edit(hubs, depths=[1, 1], hidden_dims=[16_384, 16_384])
    with pytest.raises(InputError, match="many more numbers than its weights"):
        Backbone.from_preset(address)
    _edit(hubs, hidden_dims=[8, 8])
    with pytest.raises(InputError, match="has no such argument; did you mean depths"):
        Backbone.from_preset(address, depht=(1, 1))


def test_without_weights_none_are_downloaded(hubs):
    assert Backbone.from_preset("hf://lab/eye", load_weights=False).depths == (1, 1)
    names = sorted(file.name for file in hubs.cache.iterdir())
    assert names == ["SHA256SUMS", "config.json", "metadata.json"]
    Backbone.from_preset("hf://lab/eye")
    names = {file.name for file in hubs.cache.iterdir()}
    assert "model.weights.h5" in names and "model.safetensors" not in names


def test_a_classifier_at_an_address_is_loaded_as_one(hubs, monkeypatch):
    """And not as a segmenter, which an address was taken for."""
    folder = str(kem.hub.built_in_presets.presets_dir() / "tic_tiny_modality")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *args, **options: folder)
    assert not load_task("hf://lab/recognizer").is_segmenter


@pytest.mark.parametrize(
    "address, library",
    zip(ADDRESSES, ("huggingface_hub", "kagglehub", "modelscope"), strict=True),
)
def test_a_missing_library_is_named(hubs, address, library, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == library]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=f"pip install {library.replace('_', '-')}`, or give"):
        local_preset(address)


@pytest.mark.parametrize(
    "error", [OSError("404\n\nNo such\x1b[2J repository"), ValueError("No such")]
)
@pytest.mark.parametrize("address", ADDRESSES)
def test_a_download_that_fails_is_one_sentence(hubs, address, error, monkeypatch):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    monkeypatch.setattr(kagglehub, "model_download", fail)
    monkeypatch.setattr(sys.modules["modelscope"], "snapshot_download", fail)
    with pytest.raises(InputError, match=r"cannot be downloaded.*No such") as told:
        Backbone.from_preset(address)
    assert str(told.value).isprintable()


def test_what_is_no_preset(hubs):
    (hubs.there / "config.json").unlink()
    with pytest.raises(InputError, match=r"no config\.json at hf://lab/eye"):
        local_preset("hf://lab/eye")


@pytest.mark.parametrize(
    "address, says",
    [
        ("kaggle://lab/eye", "expected kaggle://ORG/MODEL/keras/VARIANT"),
        ("kaggle://" + "x" * 10**5, "expected kaggle://ORG/MODEL/keras/VARIANT"),
        ("ftp://lab/eye", "expected one with hf://, kaggle:// and modelscope://"),
        ("://", "expected one with hf://"),
    ],
    ids=range(4),
)
def test_other_addresses_are_refused(hubs, address, says):
    with pytest.raises(InputError, match=says) as told:
        Backbone.from_preset(address)
    assert len(str(told.value)) < 600 and not hubs.asked


def test_hugging_faces_own_check_of_a_name_is_a_sentence():
    with pytest.raises(InputError, match="cannot be downloaded"):
        local_preset("hf://a/b/c d")


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow reads them")
def test_what_tensorflow_reads_is_copied_once(hubs, tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "home"))
    address = f"file://{hubs.there}"
    folder = local_preset(address)
    assert folder.startswith(str(tmp_path / "home" / "models"))
    assert Backbone.from_preset(address).depths == (1, 1)
    (hubs.there / "config.json").write_text("later")
    assert Backbone.from_preset(address).depths == (1, 1)
    assert needs_tensorflow(address) and not needs_tensorflow(str(hubs.there))
