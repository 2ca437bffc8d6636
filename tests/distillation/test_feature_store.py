import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from keras_espmedsam.distillation import feature_store
from keras_espmedsam.distillation.feature_store import FeatureStore
from keras_espmedsam.errors import InputError

SHAPES = {"embedding": (2, 2, 3), "stage/1": (4,)}


def _store(folder, **about):
    return FeatureStore(folder, {"teacher": "abc", **about}, SHAPES)


def _value(number):
    """Features that tell whose they are."""
    return {
        name: np.full((1, *shape), number + i, "float16")
        for i, (name, shape) in enumerate(SHAPES.items())
    }


def _write(store, numbers):
    with store.writing():
        store.reserve(len(numbers))
        for number in numbers:
            store.put([f"k{number}"], _value(number))


def _check(store, numbers):
    assert len(store) == len(numbers)
    for number in numbers:
        found = store.get(f"k{number}")
        for name, value in _value(number).items():
            assert found[name].dtype == np.float16
            np.testing.assert_array_equal(found[name], value[0])


def test_what_is_written_is_read_by_another(tmp_path):
    store = _store(tmp_path / "new" / "folder")
    assert "k1" not in store and store.new_bytes(3) == 3 * 2 * 16
    _write(store, range(3))
    _check(store, range(3))
    _write(store, [7])  # Grows by another file.
    _check(_store(store.folder), [0, 1, 2, 7])
    assert not _store(store.folder).get("k1")["embedding"].flags.writeable
    with pytest.raises(KeyError):
        store.get("k9")


def test_room_that_was_reserved_is_used_later(tmp_path):
    store = _store(tmp_path)
    with store.writing():
        store.reserve(3)
        store.put(["k0"], _value(0))
    again = _store(tmp_path)
    assert (again.new_bytes(2), again.new_bytes(3)) == (0, again.entry_bytes)
    _write(again, [1, 2])
    _check(again, range(3))
    assert len(list(tmp_path.glob("*.embedding.npy"))) == 1


def test_a_line_cut_off_is_no_entry(tmp_path):
    _write(_store(tmp_path), range(3))
    journal = tmp_path / "entries.jsonl"
    journal.write_bytes(journal.read_bytes()[:-5])
    store = _store(tmp_path)
    _check(store, range(2))
    _write(store, [2])
    _check(_store(tmp_path), range(3))
    assert all(json.loads(line) for line in journal.read_text().splitlines())


def test_a_file_cut_short_or_missing_takes_its_entries_along(tmp_path):
    store = _store(tmp_path)
    _write(store, range(2))
    _write(store, [2])
    _write(store, [3])
    os.truncate(tmp_path / "0001.embedding.npy", 140)
    (tmp_path / "0002.stage%2F1.npy").unlink()
    store = _store(tmp_path)
    _check(store, range(2))
    _write(store, [3, 2])
    _check(_store(tmp_path), range(4))


def test_a_damaged_entry_is_noticed_and_struck(tmp_path):
    _write(_store(tmp_path), range(3))
    path = tmp_path / "0000.embedding.npy"
    content = bytearray(path.read_bytes())
    content[-3] ^= 1  # Of the last entry.
    path.write_bytes(content)
    store = _store(tmp_path)
    with pytest.raises(InputError, match="checksum differs"):
        store.get("k2")
    assert "k2" not in store
    store = _store(tmp_path)
    _check(store, range(2))
    _write(store, [2])
    _check(_store(tmp_path), range(3))
    assert len(list(tmp_path.glob("*.embedding.npy"))) == 1


def test_another_cache_is_refused(tmp_path):
    _write(_store(tmp_path), [1])
    with pytest.raises(InputError, match="describes another cache"):
        _store(tmp_path, teacher="other")
    with pytest.raises(InputError, match="describes another cache"):
        FeatureStore(tmp_path, {"teacher": "abc"}, {"embedding": (2, 2, 4)})
    (tmp_path / "about.json").write_text("{")
    with pytest.raises(InputError, match="or is damaged; delete the folder"):
        _store(tmp_path)


def test_two_writers_are_refused(tmp_path):
    first, second = _store(tmp_path), _store(tmp_path)
    with first.writing():
        with pytest.raises(InputError, match="Another process is building"), second.writing():
            pass
        first.reserve(1)
        first.put(["k1"], _value(1))
    second.refresh()
    _check(second, [1])
    _write(second, [2])


def test_a_full_disk_is_a_sentence(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    store = _store(tmp_path)
    _write(store, [1])
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(InputError, match="No space left on device; free some space"):
        _write(store, [2])
    _check(_store(tmp_path), [1])
    assert not list(tmp_path.glob(".writing-*")) and not list(tmp_path.glob("0001*"))


# The module by its file: its package would import Keras, which takes longer than the test.
WRITER = """
import importlib.util, sys
import numpy as np

spec = importlib.util.spec_from_file_location("feature_store", sys.argv[2])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
FeatureStore = module.FeatureStore
shapes = {"embedding": (32, 32, 8)}
store = FeatureStore(sys.argv[1], {}, shapes)
with store.writing():
    store.reserve(2000 - len(store))
    print("ready", flush=True)
    for number in range(len(store), 2000):
        store.put([f"k{number}"], {"embedding": np.full((1, 32, 32, 8), number, "float16")})
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_killed_and_killed_again(tmp_path):
    script = tmp_path / "writer.py"
    script.write_text(WRITER)
    folder, before = tmp_path / "store", 0
    for round_ in range(3):
        process = subprocess.Popen(
            [sys.executable, script, folder, feature_store.__file__],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout.readline() == "ready\n"
        wanted = before + 5 + 3 * round_
        journal = folder / "entries.jsonl"
        while not journal.exists() or journal.read_bytes().count(b"\n") < wanted:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        store = FeatureStore(folder, {}, {"embedding": (32, 32, 8)})
        assert wanted <= len(store) < 2000
        for number in range(len(store)):
            assert (store.get(f"k{number}")["embedding"] == number).all()
        before = len(store)
    # All of it in the room that the first had reserved.
    assert len(list(folder.glob("*.npy"))) == 1
