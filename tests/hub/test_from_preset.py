"""Presets by strangers: what is damaged, exchanged or made to harm ends in a sentence."""

import base64
import contextlib
import json
import marshal
import os
import pickle
import shutil

import h5py
import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.initial_values import load_undrawn

Backbone = kem.models.TiCBackbone


@pytest.fixture(scope="module")
def backbone():
    return Backbone(
        hidden_dims=(8, 8), depths=(2, 1), num_heads=(1, 1), kernel_size=3, neck_dim=8, mlp_ratio=1
    )


@pytest.fixture(scope="module")
def saved(backbone, tmp_path_factory):
    folder = tmp_path_factory.mktemp("presets") / "saved"
    backbone.save_to_preset(folder)
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy without checksums, as a stranger makes them fit."""
    folder = tmp_path / "preset"
    shutil.copytree(saved, folder)
    (folder / "SHA256SUMS").unlink()
    return folder


def _edit(folder, **settings):
    file = folder / "config.json"
    content = json.loads(file.read_text())
    content["config"].update(settings)
    file.write_text(json.dumps(content))


def _refused(folder, says, **options):
    with pytest.raises(InputError, match=says) as error:
        Backbone.from_preset(folder, **options)
    assert len(str(error.value)) < 2100 and str(error.value).isprintable()


def test_a_sound_preset_is_loaded_as_it_was_saved(backbone, folder):
    for old, new in zip(backbone.weights, Backbone.from_preset(folder).weights, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (old, new)))


@pytest.mark.parametrize("depths", [[-1, 1], [0, 1], [1, 1], [2, 0]])
def test_another_network_than_was_saved_is_refused(folder, depths):
    _edit(folder, depths=depths)
    says = "TiCBackbone received depths" if min(depths) < 0 else "they are another network's"
    _refused(folder, says)


def test_who_asks_for_another_network_gets_it(folder):
    assert Backbone.from_preset(folder, depths=(1, 1)).depths == (1, 1)


@pytest.mark.parametrize("depths", [[3, 1], [2, 2]])
def test_weights_that_are_missing_are_an_error(folder, depths):
    _edit(folder, depths=depths)
    _refused(folder, "cannot be read")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers_are_an_error(folder, value):
    with h5py.File(folder / "model.weights.h5", "a") as file:
        names = []
        file.visititems(lambda name, one: names.append(name) if hasattr(one, "shape") else None)
        name = [one for one in names if file[one].ndim == 4][-1]
        array = file[name][...]
        array.flat[array.size // 2] = value
        file[name][...] = array
    _refused(folder, "hold NaN or infinite values")
    Backbone.from_preset(folder, load_weights=False)


def test_more_numbers_than_the_weights_are_not_built(folder):
    _edit(folder, hidden_dims=[16_384, 16_384])
    _refused(folder, "many more numbers than its weights")


@pytest.mark.parametrize(
    "settings",
    [
        {"hidden_dims": None},
        {"dtype": {"class_name": "DTypePolicy", "config": {"name": [1]}}},
        {"dtype": 7},
        {"border": {"a": 1}},
        {"attention_dropout": "x"},
        {"no_such_argument": 1},
        {"name": [1]},
        {"trainable": "x" * 100},
    ],
    ids=str,
)
def test_any_wrong_field_is_a_sentence_or_means_nothing(folder, settings):
    _edit(folder, **settings)
    try:
        Backbone.from_preset(folder)
    except InputError as error:
        assert len(str(error)) < 1000 and str(error).isprintable()


@pytest.mark.parametrize("keep", [0, 100, 5000])
@pytest.mark.parametrize("name", ["config.json", "model.weights.h5"])
def test_a_file_cut_short_is_a_sentence(folder, name, keep):
    file = folder / name
    file.write_bytes(file.read_bytes()[: min(keep, file.stat().st_size // 2)])
    _refused(folder, "damaged|cannot be")


def test_names_that_are_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("x" * 10**5, "", "a\0b", "\x1b[2J", "a\nb"):
        _refused(name, "preset")


def _payload(folder):
    """What a stranger plants: it makes a file, once it is run."""
    return f"open({str(folder / 'PAYLOAD')!r}, 'w').close()"


def _lambda(folder):
    scope = {}
    exec(f"def planted(x):\n    {_payload(folder)}\n    return x", scope)
    code = base64.b64encode(marshal.dumps(scope["planted"].__code__)).decode()
    function = {"class_name": "__lambda__", "config": {"value": [code, None, None]}}
    return {
        **{"module": "keras.layers", "class_name": "Lambda", "registered_name": None},
        "config": {"name": "planted", "function": function, "output_shape": [1]},
    }


def _function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


@pytest.mark.parametrize("place", ["whole", "neck_dim", "dtype", "image_shape"])
def test_no_lambda_runs(folder, place):
    planted = _lambda(folder)
    if place == "whole":
        (folder / "config.json").write_text(json.dumps(planted))
    else:
        _edit(folder, **{place: planted})
    # Keras' current precision takes the place of what the file says.
    with contextlib.nullcontext() if place == "dtype" else pytest.raises(InputError):
        Backbone.from_preset(folder)
    assert not (folder / "PAYLOAD").exists()


@pytest.mark.parametrize(
    "planted",
    [
        {"module": "os", "class_name": "system", "config": {"command": "touch PAYLOAD"}},
        {"module": "builtins", "class_name": "exec", "config": {"source": "PAYLOAD"}},
        {"module": "subprocess", "class_name": "Popen", "config": {"args": ["touch", "PAYLOAD"]}},
        _function("os", "getcwd"),
    ],
    ids=lambda planted: planted["module"],
)
def test_no_class_of_another_module_is_made(folder, planted, monkeypatch):
    monkeypatch.chdir(folder)
    (folder / "config.json").write_text(json.dumps({"registered_name": None, **planted}))
    with pytest.raises(InputError):
        Backbone.from_preset(folder)
    assert not (folder / "PAYLOAD").exists()


class _Planted:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_no_pickle_in_place_of_weights_runs(folder):
    planted = pickle.dumps(_Planted(f"touch {folder / 'PAYLOAD'}"))
    (folder / "model.weights.h5").write_bytes(planted)
    _refused(folder, "cannot be used")
    assert not (folder / "PAYLOAD").exists()


def test_no_link_of_weights_is_followed(folder, saved):
    with h5py.File(folder / "model.weights.h5", "a") as file:
        del file["layers"]
        file["layers"] = h5py.ExternalLink(str(saved / "model.weights.h5"), "/layers")
    _refused(folder, "links to another place")


def test_a_budget_is_of_one_load():
    def load():
        layer = keras.layers.Dense(10)
        layer.build((None, 10))
        layer.set_weights([np.ones((10, 10)), np.ones(10)])
        return layer

    load_undrawn(load, most=110)
    with pytest.raises(InputError, match="many more numbers"):
        load_undrawn(load, most=109)
    load_undrawn(load, most=110)
    assert keras.ops.convert_to_numpy(keras.initializers.Ones()((200,))).sum() == 200
