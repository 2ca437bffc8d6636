"""`--compile-cache`: what is kept where, and what is said of it."""

import os

import pytest

from keras_espmedsam import _compile_cache
from keras_espmedsam.cli import compile_cache as option
from keras_espmedsam.errors import InputError, InputWarning

FOLDER = "JAX_COMPILATION_CACHE_DIR"


@pytest.fixture
def on(monkeypatch, tmp_path):
    """A computer where Keras is to run on the given backend; `told` is what JAX was told."""
    told = []

    def set_up(backend):
        for module in (option, _compile_cache):
            monkeypatch.setattr(module, "choose_backend", lambda: backend)
        monkeypatch.setattr(_compile_cache, "_tell_jax", told.append)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        monkeypatch.delenv(FOLDER, raising=False)
        return told

    return set_up


def test_of_the_folder_in_the_users_cache_is_told_once(on, tmp_path, capsys):
    told, folder = on("jax"), tmp_path / "keras-espmedsam" / "jax"
    option.keep_compiled(None)
    option.keep_compiled(None)
    assert told == [folder, folder]
    assert capsys.readouterr().err == (
        f"JAX stores compiled code in {folder} (at most 2 GiB), so that the next run starts "
        "faster; --compile-cache off stores nothing.\n"
    )


def test_what_is_asked_for_is_done_without_a_word(on, tmp_path, capsys):
    told = on("jax")
    option.keep_compiled(str(tmp_path / "mine"))
    option.keep_compiled("off")
    assert told == [tmp_path / "mine", None]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("value", ["/somewhere", ""])  # The empty one is JAX's word for nowhere.
def test_what_the_user_set_for_jax_is_left_alone(on, monkeypatch, capsys, value):
    told = on("jax")
    monkeypatch.setenv(FOLDER, value)
    option.keep_compiled(None)
    assert told == []
    assert os.environ[FOLDER] == value
    assert capsys.readouterr() == ("", "")


def test_what_cannot_be_used_is_refused_if_asked_for_and_else_done_without(on, tmp_path, capsys):
    told = on("jax")
    (tmp_path / "keras-espmedsam").write_text("")
    with pytest.raises(InputError, match="it is not a folder"):
        option.keep_compiled(str(tmp_path / "keras-espmedsam"))
    option.keep_compiled(None)
    assert told == []
    said = capsys.readouterr().err
    assert said.startswith(f"warning: Compiled code cannot be stored in {tmp_path}")
    assert said.endswith("JAX will compile again in every run.\n")
    assert said.count("\n") == 1


def test_other_backends(on, tmp_path, capsys):
    told = on("torch")
    option.keep_compiled(None)
    option.keep_compiled("off")
    assert capsys.readouterr() == ("", "")
    with pytest.warns(InputWarning, match="Keras runs on torch, and it does not compile here"):
        option.keep_compiled(str(tmp_path / "mine"))
    assert told == [None]
    assert not (tmp_path / "mine").exists()


def test_no_backend_is_told_when_keras_starts(monkeypatch, capsys):
    def none():
        raise ImportError("No Keras backend is installed")

    monkeypatch.setattr(option, "choose_backend", none)
    option.keep_compiled(None)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "command",
    ["segment", "evaluate", "calibrate", "train", "distill", "add-modality", "add-target", "export"]
    + [f"convert {what}" for what in ("espmedsam", "mobilesam", "sam", "keras-hub")],
)
def test_every_command_that_starts_keras_has_it(run, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "120")
    assert "--compile-cache" in run(*command.split(), "--help").stdout


def test_a_wrong_folder_ends_the_command_before_keras_starts(run, image, monkeypatch):
    monkeypatch.setattr(_compile_cache, "choose_backend", lambda: "jax")
    path = image("eye.png")
    result = run("segment", path, "--compile-cache", path)
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: Compiled code cannot be stored in {path} (it is not a folder); give a folder that "
        "can be written, or 'off'.\n"
    )
