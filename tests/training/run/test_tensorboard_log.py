"""The log for TensorBoard, as TensorBoard reads it."""

import socket
import sys

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.training.run.tensorboard_log import TensorBoardLog

event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def fit(folder, epochs, initial_epoch=0, validate=True):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.125), "mse")
    x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    return model.fit(
        *(x, y),
        **{"epochs": epochs, "initial_epoch": initial_epoch, "verbose": 0},
        validation_data=(x, y) if validate else None,
        callbacks=[TensorBoardLog(folder)],
    ).history


def read(folder):
    found = event_accumulator.EventAccumulator(str(folder)).Reload()
    return {
        tag: [(one.step, one.value) for one in found.Scalars(tag)]
        for tag in found.Tags()["scalars"]
    }


def numbered(values, first=0):
    return [(i, pytest.approx(value)) for i, value in enumerate(values, first)]


def test_values_and_steps_of_two_starts(tmp_path):
    before = fit(tmp_path, 2)
    after = fit(tmp_path, 3, initial_epoch=2)
    train, validation = read(tmp_path / "train"), read(tmp_path / "validation")
    assert train["epoch_loss"] == numbered(before["loss"] + after["loss"])
    assert train["epoch_learning_rate"] == [(i, 0.125) for i in range(3)]
    assert validation == {"epoch_loss": numbered(before["val_loss"] + after["val_loss"])}
    assert len(list((tmp_path / "train").iterdir())) == 2


def test_nothing_names_the_machine(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "planted-host")
    fit(tmp_path, 1, validate=False)
    (path,) = (path for path in tmp_path.rglob("*") if path.is_file())
    assert path.parent.name == "train"
    # TensorFlow's own would be events.out.tfevents.TIME.HOST.PROCESS.NUMBER.
    assert path.name.removeprefix("events.out.tfevents.").replace(".", "").isdigit()
    assert b"planted-host" not in path.read_bytes()


def test_what_was_not_measured_is_not_written(tmp_path):
    log = TensorBoardLog(tmp_path)
    log.on_epoch_end(0, {"loss": 0.5, "dice": float("nan"), "val_loss": float("nan")})
    log.on_train_end()
    assert read(tmp_path / "train") == {"epoch_loss": [(0, 0.5)]}
    ((_, value),) = read(tmp_path / "validation")["epoch_loss"]
    assert np.isnan(value)


def test_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(InputError, match=r"A log for TensorBoard needs tensorboard.*\[train\]"):
        TensorBoardLog(tmp_path)
