"""What `fit`, `evaluate` and `predict` say of compilation, on any backend and without waiting."""

import io
import sys

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam import _compile_notice
from keras_espmedsam.errors import InputError
from keras_espmedsam.models.compile_notice import compile_notices

X, Y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
SAYS = "JAX compiles the first {} step, which can take a minute or more; the next ones are quick.\n"
TRAINING, EVALUATION, PREDICTION = map(SAYS.format, ("training", "evaluation", "prediction"))


class Timer:
    """One that fires at once, as if every first step were slow; `made` are its sentences."""

    made = []
    slow = True

    def __init__(self, seconds, function, arguments):
        self.function, self.arguments, self.running = function, arguments, False
        self.made.append(self)

    def start(self):
        self.running = True
        if self.slow:
            self.function(*self.arguments)

    def cancel(self):
        self.running = False


@pytest.fixture(autouse=True)
def _slow(monkeypatch):
    monkeypatch.setattr(_compile_notice, "choose_backend", lambda: "jax")
    monkeypatch.setattr(_compile_notice.threading, "Timer", Timer)
    monkeypatch.setattr(Timer, "made", [])
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "")


def compiled(**options):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", **options)
    return model


def fit(model, x=X, y=Y, **arguments):
    with compile_notices(model, {"x": x, "y": y, "batch_size": 2, **arguments}) as given:
        return model.fit(**given)


def lines(capsys):
    return capsys.readouterr().out.splitlines(keepends=True)


def test_the_sentence_stands_above_the_bar_and_is_said_once(capsys):
    fit(compiled(), epochs=2)
    said = capsys.readouterr().out
    assert said.startswith(f"Epoch 1/2\n{TRAINING}\r") or said.startswith(
        f"Epoch 1/2\n{TRAINING}\n"  # Where the bar does not move.
    )
    assert said.count("compiles") == 1


def test_validation_gets_a_line_of_its_own_and_the_bar_is_written_anew_below(capsys):
    fit(compiled(), epochs=2, validation_data=(X, Y))
    said = capsys.readouterr().out
    before, after = said.split("\n" + EVALUATION)
    assert "loss" in before.rsplit("\n", 1)[-1]  # The bar, not full.
    assert "val_loss" in after.split("\n")[0] or after.startswith("\n")
    assert said.count(EVALUATION) == said.count(TRAINING) == 1
    assert PREDICTION not in said


def test_a_log_has_a_line_too_and_no_empty_one(capsys):
    fit(compiled(), validation_data=(X, Y), verbose=2)
    said = lines(capsys)
    assert said[:2] == [TRAINING, EVALUATION]
    assert said[2].startswith("2/2 - ")


@pytest.mark.parametrize("verb", ["evaluate", "predict"])
def test_evaluation_and_prediction_alone(capsys, verb):
    model = compiled()
    given = {"x": X, "y": Y} if verb == "evaluate" else {"x": X}
    with compile_notices(model, given) as arguments:
        getattr(model, verb)(**arguments)
    assert lines(capsys)[0] == {"evaluate": EVALUATION, "predict": PREDICTION}[verb]


@pytest.mark.parametrize("verbose", [0, False])
def test_silence_is_kept(capsys, verbose):
    fit(compiled(), verbose=verbose)
    assert lines(capsys) == []
    assert Timer.made == []


def test_keras_own_switch_is_followed(capsys):
    keras.config.disable_interactive_logging()
    try:
        fit(compiled())
    finally:
        keras.config.enable_interactive_logging()
    assert "compiles" not in capsys.readouterr().out


def test_what_runs_eagerly_is_not_compiled(capsys):
    fit(compiled(run_eagerly=True))
    assert Timer.made == []


def test_what_is_compiled_already_is_not_said_again(capsys):
    model = compiled()
    fit(model)
    fit(model)
    assert "".join(lines(capsys)).count("compiles") == 1


def test_what_is_compiled_anew_is(capsys):
    model = compiled()
    fit(model)
    model.compile("adam", "mse")
    fit(model)
    assert "".join(lines(capsys)).count("compiles") == 2


def test_quick_steps_are_not_spoken_of(capsys, monkeypatch):
    monkeypatch.setattr(Timer, "slow", False)
    fit(compiled(), validation_data=(X, Y))
    assert len(Timer.made) == 2
    assert not any(timer.running for timer in Timer.made)
    assert "compiles" not in capsys.readouterr().out


def test_an_error_ends_the_waiting(monkeypatch):
    monkeypatch.setattr(Timer, "slow", False)

    class Failing(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            raise InputError("This is enough.")

    with pytest.raises(InputError):
        fit(compiled(), callbacks=[Failing()])
    (timer,) = Timer.made
    assert not timer.running


def test_a_stdout_that_takes_no_more_is_no_error(monkeypatch):
    class Full(io.StringIO):
        def write(self, text):
            if text == TRAINING:
                raise OSError(28, "No space left on device")

    monkeypatch.setattr(sys, "stdout", Full())
    assert fit(compiled()).history["loss"]


class Counting(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.count = 0

    def on_train_batch_end(self, batch, logs=None):
        self.count += 1


@pytest.mark.parametrize("form", ["one", "list", "tuple", "nested"])
def test_callbacks_of_ones_own_are_called_as_ever(form):
    one = Counting()
    forms = {"one": one, "list": [one], "tuple": (one,), "nested": [[one]]}
    history = fit(compiled(), callbacks=forms[form])
    assert one.count == 2
    assert len(history.history["loss"]) == 1
    assert forms["list"] == [one]


def test_a_callback_list_is_the_callers(capsys):
    model = compiled()
    fit(model, callbacks=keras.callbacks.CallbackList([], add_history=True, model=model))
    assert lines(capsys) == []


# === Ours ===


@pytest.mark.slow_on("jax")
def test_tasks(build, capsys):
    segmenter = build.plain_segmenter()
    images, masks = np.zeros((2, 64, 64, 3), "uint8"), np.zeros((2, 64, 64), "uint8")
    images[:, :32], masks[:, :32] = 200, 1
    data = {"images": images, "modalities": "eye"}
    segmenter.fit(data, masks, validation_data=(data, masks), verbose=2)
    assert lines(capsys)[:2] == [TRAINING, EVALUATION]
    segmenter.predict(data, verbose=2)
    segmenter.evaluate(data, masks, verbose=2)
    assert "".join(lines(capsys)).count("compiles") == 1
    segmenter.segment(images, "eye")
    assert lines(capsys) == []


@pytest.mark.slow_on("jax", "tensorflow")
def test_a_distiller(capsys):
    def small(**kwargs):
        return kem.models.TinyViTBackbone(
            hidden_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
            window_sizes=(4, 4, 4), neck_dim=16, **kwargs,
        )  # fmt: skip

    distiller = kem.distillation.DecoupledDistiller(
        small(num_modalities=6), domain_teachers=small(), phase="controllers"
    )
    distiller.compile()
    x = {"images": np.zeros((1, 32, 32, 3), "float32"), "modalities": np.array([3])}
    history = distiller.fit({"domain": x}, None, 1, 1, 2)  # All by their places.
    assert lines(capsys)[0] == TRAINING
    assert "domain_embedding_mse" in history.history
