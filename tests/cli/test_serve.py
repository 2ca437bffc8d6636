"""`espmedsam serve`: what is checked before it listens, and what it then serves."""

import sys
import types

import pytest

from keras_espmedsam import serve as room
from keras_espmedsam.cli import serve
from keras_espmedsam.errors import InputError
from tests.cli.conftest import BrightnessClassifier, BrightnessSegmenter

for _library in ("fastapi", "prometheus_client", "python_multipart", "uvicorn"):
    pytest.importorskip(_library, reason="it is of the extra serve")

TOKEN = "0123456789abcdef"


@pytest.fixture
def served(monkeypatch):
    """What would be served, in place of a server; `loaded` lists what was loaded."""
    found = types.SimpleNamespace(loaded=[], models=None)

    def load(preset, precision=None, trust=False):
        found.loaded.append(preset)
        return BrightnessSegmenter()

    def load_recognizer(preset):
        found.loaded.append(preset)
        return BrightnessClassifier()

    def run(models, settings, host, port, tell):
        found.models, found.settings, found.address = models, settings, (host, port)

    def check(preset, precision=None):
        if preset == "wrong":
            raise InputError("There is no preset 'wrong'.")

    monkeypatch.setattr(serve, "load_segmenter", load)
    monkeypatch.setattr(serve, "load_recognizer", load_recognizer)
    monkeypatch.setattr(serve, "check_preset", check)
    monkeypatch.setattr(serve, "stored_targets", lambda preset: None)
    monkeypatch.setattr(room, "run_server", run, raising=False)
    monkeypatch.delenv(serve.TOKEN_VARIABLE, raising=False)
    return found


def refused(result, words):
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert words in errors[0]


def test_the_default_preset_on_this_machine(run, served):
    result = run("serve")
    assert result.exit_code == 0, result.output
    (model,) = served.models
    assert model.name == "espmedsam_nano_256"
    assert model.recognizer is not None
    assert served.loaded == ["espmedsam_nano_256", "tic_tiny_modality"]
    assert served.address == ("127.0.0.1", 8000)
    assert served.settings == room.ServerSettings()


def test_several_models_and_limits(run, served, tmp_path):
    (tmp_path / "my preset").mkdir()
    result = run(
        *("serve", "espmedsam_nano_256@1", "eye=models/a=b.onnx", "models/lung.v2.onnx"),
        *(str(tmp_path / "my preset"), "--host", "::1", "--port", "9000", "--queue", "3"),
        *("--batch-size", "2", "--batch-wait", "0.1", "--seconds", "5"),
        *("--max-bytes", "10", "--max-pixels", "20", "--recognizer", "mine"),
    )
    assert result.exit_code == 0, result.output
    names = [one.name for one in served.models]
    assert names == ["espmedsam_nano_256@1", "eye", "lung.v2", "my_preset"]
    assert served.loaded[2:4] == ["models/a=b.onnx", "models/lung.v2.onnx"]
    assert served.loaded.count("mine") == 1
    assert served.address == ("::1", 9000)
    assert served.settings == room.ServerSettings(None, 2, 0.1, 3, 5.0, 10, 20)


def test_viewers_get_a_folder_of_images(run, served, tmp_path):
    assert run("serve", "--studies", str(tmp_path)).exit_code == 0
    assert served.settings.studies == tmp_path
    served.loaded.clear()
    refused(run("serve", "--studies", str(tmp_path / "missing")), "are no folder")
    assert not served.loaded


def test_own_modalities_are_served_without_the_default_recogniser(run, served, monkeypatch):
    monkeypatch.setattr(BrightnessSegmenter, "modalities", ("skin", "lung"))
    result = run("serve", "own=x")
    assert result.exit_code == 0, result.output
    assert served.models[0].recognizer is None
    assert "own has modalities that tic_tiny_modality does not know" in result.stderr
    refused(run("serve", "own=x", "--recognizer", "mine"), "skin, lung")


def test_others_are_let_in_with_a_token_only(run, served, tmp_path, monkeypatch):
    refused(run("serve", "--host", "0.0.0.0"), "without a token")
    assert not served.loaded  # Before seconds of loading.
    (tmp_path / "token").write_text(TOKEN + "\n")
    result = run("serve", "--host", "0.0.0.0", "--token-file", str(tmp_path / "token"))
    assert result.exit_code == 0, result.output
    assert served.settings.token == TOKEN
    monkeypatch.setenv(serve.TOKEN_VARIABLE, TOKEN[::-1])
    assert run("serve", "--host", "0.0.0.0").exit_code == 0
    assert served.settings.token == TOKEN[::-1]


def test_what_cannot_be_used_is_told_before_anything_is_loaded(run, served, tmp_path):
    refused(run("serve", "wrong"), "no preset")
    refused(run("serve", "a=x", "a=y"), "NAME=MODEL")
    refused(run("serve", "--token-file", str(tmp_path / "none")), "token file")
    (tmp_path / "short").write_text("short")
    refused(run("serve", "--token-file", str(tmp_path / "short")), "at least 16")
    (tmp_path / "empty").write_text("")
    refused(run("serve", "--token-file", str(tmp_path / "empty")), "at least 16")
    assert not served.loaded


def test_a_missing_library_names_the_extra(run, served, monkeypatch):
    monkeypatch.delattr(room, "run_server")
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused(run("serve"), 'pip install "keras-espmedsam[serve]"')
    assert not served.loaded
