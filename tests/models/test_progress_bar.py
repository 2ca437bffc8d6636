"""What `fit` and `evaluate` print of metrics that measured nothing."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.models.progress_bar import ProgressBar, with_progress_bar

X = np.ones((4, 2), "float32")
UNLABELLED, LABELLED = -np.ones((4, 1), "float32"), np.ones((4, 1), "float32")


@pytest.fixture
def model():
    """Its only output is a mask of one pixel."""
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=[kem.metrics.DiceScore()], run_eagerly=True)
    return model


def fit(model, y, verbose):
    return model.fit(
        **with_progress_bar({"x": X, "y": y, "validation_data": (X, y), "verbose": verbose})
    )


@pytest.mark.parametrize("verbose", [1, 2, "auto"])
def test_only_what_was_measured_is_printed(model, verbose, capsys):
    history = fit(model, UNLABELLED, verbose).history
    printed = capsys.readouterr().out
    assert "loss: " in printed and "val_loss: " in printed
    assert "nan" not in printed and "dice" not in printed
    # But no epoch is missing in what is kept.
    assert np.isnan(history["dice"]).all() and np.isnan(history["val_dice"]).all()
    fit(model, LABELLED, verbose)
    printed = capsys.readouterr().out
    assert " dice: " in printed and " val_dice: " in printed
    model.evaluate(**with_progress_bar({"x": X, "y": UNLABELLED, "verbose": verbose}))
    printed = capsys.readouterr().out
    assert "loss: " in printed and "dice" not in printed


def test_a_training_that_diverges_is_printed_as_such(model, capsys):
    fit(model, LABELLED * np.nan, 2)
    printed = capsys.readouterr().out
    assert " loss: nan" in printed and " dice: nan" in printed


def test_there_is_one_bar():
    own = keras.callbacks.ProgbarLogger()
    for arguments in (
        {"verbose": 0},
        {"callbacks": [own]},
        {"callbacks": keras.callbacks.CallbackList()},
    ):
        assert with_progress_bar(arguments) is arguments
    other = keras.callbacks.Callback()
    given, bar = with_progress_bar({"callbacks": other})["callbacks"]
    assert given is other and type(bar) is ProgressBar
