import json
import sys
import types

import pytest

from keras_espmedsam import _startup


@pytest.fixture
def world(monkeypatch, tmp_path):
    """A computer on which Keras is not imported yet and only the given backends are installed."""
    monkeypatch.delitem(sys.modules, "keras", raising=False)
    monkeypatch.setenv("KERAS_BACKEND", "")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))

    def set_up(*installed, config=None):
        monkeypatch.setattr(_startup, "_is_installed", lambda name: name in installed)
        if config is not None:
            (tmp_path / "keras.json").write_text(config)

    return set_up


def backend_variable():
    import os

    return os.environ["KERAS_BACKEND"]


@pytest.mark.parametrize(
    ("installed", "expected"),
    [(("tensorflow", "jax", "torch"), "tensorflow"), (("jax", "torch"), "jax"),
     (("torch",), "torch")],
)  # fmt: skip
def test_an_installed_backend_is_chosen_and_keras_told(world, installed, expected):
    world(*installed)
    assert _startup.choose_backend() == expected
    assert backend_variable() == expected


def test_the_variable_wins(world, monkeypatch):
    world("tensorflow", config=json.dumps({"backend": "tensorflow"}))
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert _startup.choose_backend() == "jax"


def test_the_configuration_counts_and_is_left_to_keras(world):
    world("tensorflow", "torch", config=json.dumps({"backend": "torch"}))
    assert _startup.choose_backend() == "torch"
    assert backend_variable() == ""


def test_a_configured_backend_that_is_not_installed_is_passed_over(world):
    world("jax", config=json.dumps({"backend": "tensorflow"}))
    assert _startup.choose_backend() == "jax"


@pytest.mark.parametrize("config", ["{", "[]", '{"backend": 3}', "{}"])
def test_a_broken_configuration_does_no_harm(world, config):
    world("torch", config=config)
    assert _startup.choose_backend() == "torch"


def test_an_imported_keras_has_already_chosen(world, monkeypatch):
    world("tensorflow")
    keras = types.SimpleNamespace(config=types.SimpleNamespace(backend=lambda: "torch"))
    monkeypatch.setitem(sys.modules, "keras", keras)
    assert _startup.choose_backend() == "torch"
    assert backend_variable() == ""


def test_none_installed(world):
    world()
    with pytest.raises(ImportError, match=r'pip install "keras-espmedsam\[tensorflow\]"'):
        _startup.choose_backend()
