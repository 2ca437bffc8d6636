"""Where JAX keeps what it compiled: what is asked for, tended, and found by another process."""

import importlib.util
import os
import subprocess
import sys
import time
import types
import zlib
from pathlib import Path

import pytest

import keras_espmedsam as kem
from keras_espmedsam import _compile_cache
from keras_espmedsam.errors import InputError, InputWarning

FOLDER, LEAST = "JAX_COMPILATION_CACHE_DIR", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"
NAME = f"jit_step-{'0a' * 32}-cache"


@pytest.fixture
def on(monkeypatch, tmp_path):
    """A computer where Keras is to run on the given backend, and JAX is not imported yet."""

    def set_up(backend):
        monkeypatch.setattr(_compile_cache, "choose_backend", lambda: backend)
        monkeypatch.setitem(sys.modules, "jax", None)
        monkeypatch.delitem(sys.modules, "jax")
        for name in (FOLDER, LEAST):
            monkeypatch.setenv(name, "")
            monkeypatch.delenv(name)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        return tmp_path

    return set_up


def write(folder, name=NAME, data=None, age=100.0):
    """An entry that JAX wrote and read `age` seconds ago."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_bytes(zlib.compress(b"a program") if data is None else data)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_folder_in_the_users_cache(on):
    folder = on("jax") / "cache" / "keras-espmedsam" / "jax"
    assert kem.compile_cache() == folder
    assert folder.is_dir()
    assert os.environ[FOLDER] == str(folder)
    assert os.environ[LEAST] == "0"
    if os.name == "posix":
        assert folder.stat().st_mode & 0o77 == 0


@pytest.mark.parametrize("kind", [str, Path, os.fsencode])
def test_a_folder_of_ones_own(on, kind):
    folder = on("jax") / "a b" / "ü"
    if kind is os.fsencode:
        with pytest.raises(InputError, match="expected a folder, or 'off'"):
            kem.compile_cache(kind(folder))
        return
    assert kem.compile_cache(kind(folder)) == folder
    assert os.environ[FOLDER] == str(folder)


def test_a_relative_folder_is_meant_from_here(on, monkeypatch):
    monkeypatch.chdir(on("jax"))
    assert kem.compile_cache("kept") == Path.cwd() / "kept"


def test_what_the_user_set_for_jax_is_taken(on, monkeypatch):
    folder = on("jax") / "mine"
    monkeypatch.setenv(FOLDER, str(folder))
    monkeypatch.setenv(LEAST, "0.5")
    assert kem.compile_cache() == folder
    assert os.environ[LEAST] == "0.5"
    assert kem.compile_cache(folder.with_name("other")) == folder.with_name("other")


def test_what_jax_was_told_in_the_program_is_taken(on, monkeypatch):
    folder = on("jax") / "mine"
    told = []
    config = types.SimpleNamespace(jax_compilation_cache_dir=str(folder))
    monkeypatch.setitem(sys.modules, "jax", types.SimpleNamespace(config=config))
    monkeypatch.setattr(_compile_cache, "_tell_jax", told.append)
    assert kem.compile_cache() == folder
    assert told == [folder]
    config.jax_compilation_cache_dir = None
    assert kem.compile_cache() == _compile_cache.default_folder()


@pytest.mark.parametrize("backend", ["jax", "torch", "tensorflow"])
def test_off(on, backend):
    folder = on(backend) / "cache"
    assert kem.compile_cache("off") is None
    assert os.environ[FOLDER] == ""
    assert not folder.exists()


@pytest.mark.parametrize(
    ("backend", "words"),
    [
        ("torch", "it does not compile here"),
        ("tensorflow", "each process compiles again"),
        ("openvino", "only JAX stores compiled code"),
    ],
)
def test_other_backends_say_that_nothing_is_kept(on, backend, words):
    folder = on(backend)
    with pytest.warns(InputWarning, match=f"Keras runs on {backend}, and .*{words}") as caught:
        assert kem.compile_cache(folder / "kept") is None
    assert caught[0].filename == __file__
    assert not (folder / "kept").exists()
    assert FOLDER not in os.environ


def test_what_is_no_folder_is_refused(on, monkeypatch):
    place = on("jax")
    (place / "file").write_text("")
    (place / "leads_nowhere").symlink_to(place / "nowhere")
    for wrong, words in (
        (place / "file", "it is not a folder"),
        (place / "file" / "below", "it is not a folder"),
        (place / "leads_nowhere", "it is not a folder"),
        (place / "a\0b", "it is not a valid name"),
        (place / "a\udcff", "it is not a valid name"),
        ("~nobody_of_this_name/kept", "there is no such home"),
        (place / ("a" * 5000), "name too long"),
        ("gs://bucket/jax", "a folder on this computer"),
        ("", "expected a folder"),
        (3, "Received 3 "),
    ):
        with pytest.raises(InputError, match=f"(?i){words}") as caught:
            kem.compile_cache(wrong)
        assert len(str(caught.value)) < 500
    assert FOLDER not in os.environ

    def refuse(dir):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(_compile_cache.tempfile, "TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"be stored in .*shut \(Permission denied\); give a"):
        kem.compile_cache(place / "shut")


def test_no_home(on, monkeypatch):
    def none():
        raise RuntimeError("Could not determine home directory.")

    on("jax")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(_compile_cache.Path, "home", none)
    with pytest.raises(InputError, match="There is no home directory"):
        kem.compile_cache()


def test_what_was_used_longest_ago_goes_when_it_is_too_much(on, monkeypatch):
    folder = on("jax") / "kept"
    monkeypatch.setattr(_compile_cache, "MAX_BYTES", 100)
    entries = [
        write(folder, f"jit_f-{number:064x}-cache", b"x" * 40, age)
        for number, age in enumerate((9000, 3000, 6000, 90000))
    ]
    read = entries[3]
    os.utime(read, (time.time() - 10, read.stat().st_mtime))  # Written first, and read just now.
    note = folder / entries[0].name.replace("-cache", "-atime")
    note.write_bytes(b"12345678")
    others = [write(folder, name, b"x" * 400) for name in ("my-cache", "weights.h5", "-cache")]
    others.append(folder / f"jit_f-{9:064x}-cache")
    others[-1].mkdir()
    kem.compile_cache(folder)
    assert [entry.exists() for entry in entries] == [False, True, False, True]
    assert not note.exists()
    assert all(other.exists() for other in others)


@pytest.mark.parametrize("data", [b"", b"x\x9c", zlib.compress(bytes(range(256)) * 9)[:-1]])
def test_a_damaged_entry_is_removed_once_it_cannot_be_in_the_making(on, data):
    folder = on("jax") / "kept"
    kem.compile_cache(folder)
    os.utime(folder / _compile_cache._CHECKED, (time.time() - 1000,) * 2)
    damaged = write(folder, NAME, data)
    whole = write(folder, NAME.replace("0a", "0b"))
    other = write(folder, NAME.replace("0a", "0c"), b"\x28\xb5\x2f\xfd by zstandard")
    young = write(folder, NAME.replace("0a", "0d"), data, age=5)
    kem.compile_cache(folder)
    # Of a file that is not compressed with zlib JAX alone can tell whether it is whole.
    assert not damaged.exists() and whole.exists() and other.exists() and young.exists()


def test_what_was_looked_at_is_not_looked_at_again(on, monkeypatch):
    folder = on("jax") / "kept"
    write(folder, NAME, b"", age=500)  # Of a folder in use before: not looked through at all.
    kem.compile_cache(folder)
    monkeypatch.setattr(_compile_cache, "_is_whole", lambda path: pytest.fail(f"read {path}"))
    kem.compile_cache(folder)
    assert (folder / NAME).exists()


def test_a_folder_that_another_process_tends_is_no_error(on, monkeypatch):
    folder = on("jax") / "kept"
    write(folder)

    def gone(path):
        raise FileNotFoundError(path)

    monkeypatch.setattr(_compile_cache.os, "scandir", gone)
    assert kem.compile_cache(folder) == folder


# === With JAX itself ===

needs_jax = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="JAX is not installed"
)
SCRIPT = """
import os, sys, warnings
os.environ["KERAS_BACKEND"] = "jax"
import keras_espmedsam as kem

when, folder, *other = sys.argv[1:]
if when == "before":
    kem.compile_cache(folder)
import jax
events = []
jax.monitoring.register_event_listener(lambda name, **kwargs: events.append(name))
if when == "after":
    jax.jit(lambda x: x - 4)(1.0)  # JAX has begun without a cache.
    kem.compile_cache(folder)
for other in other:
    kem.compile_cache(other)

def step(x):
    return x * 3 + 1

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    events.clear()
    result = jax.jit(step)(2.0)
    hits = events.count("/jax/compilation_cache/cache_hits")
assert result == 7.0
print(hits, len(caught))
"""


def run(*arguments, **environment):
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", **environment}
    for name in (FOLDER, LEAST):
        environment.pop(name, None)
    command = [sys.executable, "-c", SCRIPT, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)


def said(process):
    out, _ = process.communicate()
    assert process.returncode == 0
    hits, warned = out.split()
    return int(hits) > 0, int(warned) > 0


def steps(folder):
    return sorted(folder.glob("jit_step-*-cache"))


@needs_jax
def test_another_process_finds_what_was_compiled(tmp_path):
    folder = tmp_path / "kept"
    together = [run("before", folder), run("after", folder)]  # At the same time.
    for process in together:
        assert said(process)[1] is False
    (entry,) = steps(folder)
    assert said(run("after", folder)) == (True, False)

    # A damaged entry is no error, though JAX compiles on account of it; in time it is mended.
    entry.write_bytes(entry.read_bytes()[:100])
    assert said(run("before", folder)) == (False, True)
    os.utime(entry, (time.time() - 100,) * 2)
    os.utime(folder / _compile_cache._CHECKED, (time.time() - 1000,) * 2)
    assert said(run("before", folder)) == (False, False)
    assert said(run("before", folder)) == (True, False)

    # JAX goes over to another folder, and to none.
    assert said(run("before", folder, tmp_path / "second")) == (False, False)
    assert len(steps(tmp_path / "second")) == 1
    assert said(run("before", folder, "off")) == (False, False)
