"""Whether there is room for weights."""

import errno
import os

import keras
import pytest

from keras_espmedsam.hub.space_for_weights import check_space_for_weights


def test_what_is_asked_for_is_more_than_what_is_written(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "keras_espmedsam.hub.space_for_weights.check_space", lambda folder, size: asked.append(size)
    )
    layers = [keras.layers.Dense(width) for width in (3, 50, 1)]
    model = keras.Sequential([keras.Input((200,)), *layers, keras.layers.BatchNormalization()])
    check_space_for_weights(model, tmp_path)
    model.save_weights(tmp_path / "a.weights.h5")
    assert os.path.getsize(tmp_path / "a.weights.h5") < asked[0] < 10 * 50_000


def test_of_a_full_disk_the_folder_is_named(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)])
    with pytest.raises(OSError, match="full") as caught:
        check_space_for_weights(model, tmp_path)
    assert caught.value.filename == str(tmp_path)
    assert os.listdir(tmp_path) == []
