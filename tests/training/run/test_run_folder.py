"""Runs that are interrupted go on as if they had not been."""

import csv
import json
import sys

import h5py
import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.optimizers import DecoupledOptimizer
from keras_espmedsam.training import RunFolder
from keras_espmedsam.training.run import learning_curves, run_folder

RNG = np.random.default_rng(0)
X = RNG.normal(size=(8, 3)).astype("float32")
Y = X.sum(axis=1, keepdims=True)
DRAW = learning_curves._draw
# TensorFlow traces for seconds, every model anew, what runs in milliseconds.
EAGER = keras.backend.backend() == "tensorflow"


@pytest.fixture(autouse=True, scope="module")
def _undrawn():
    """Leave the curve's image to the one test that looks at it: it takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learning_curves, "_draw", lambda *_: None)
        yield


class Killed(Exception):
    pass


class KillIn(keras.callbacks.Callback):
    """End the program, as far as a test can, in the middle of an epoch."""

    def __init__(self, epoch, batch=1):
        super().__init__()
        self.at = (epoch, batch)

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise Killed


class Draws(keras.utils.PyDataset):
    """Batches that depend on the epoch, as those of `SegmentationDataset`."""

    def __init__(self):
        super().__init__()
        self.epoch = 0

    @property
    def num_batches(self):
        return 3

    def __getitem__(self, index):
        rows = np.random.default_rng([self.epoch, index]).choice(8, 4)
        return X[rows], Y[rows]

    def on_epoch_end(self):
        self.epoch += 1


def build(**options):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, activation="tanh")(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Dropout(0.3)(x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    rate = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=0.01, **options)
    model.compile(optimizer, "mse", run_eagerly=EAGER)
    return model


def light():
    """Where it is not the model that matters."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1, name="dense")])
    model.compile(keras.optimizers.SGD(0.01), "mse", run_eagerly=EAGER)
    return model


def train(folder, model=None, epochs=4, callbacks=(), **options):
    run = RunFolder(folder, **options)
    model = model or light()
    run.fit(
        model,
        Draws(),
        epochs=epochs,
        validation_data=(X, Y),
        verbose=0,
        callbacks=list(callbacks),
    )
    return run, model


def arrays(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def table(folder):
    with (folder / "curves.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "ema"])
def whole(request, tmp_path_factory):
    """An uninterrupted run, and the options of its optimiser."""
    options = {"use_ema": True, "ema_momentum": 0.7} if request.param else {}
    folder = tmp_path_factory.mktemp("whole")
    run, model = train(folder, build(**options))
    return folder, run, model, options


def test_an_interrupted_run_ends_as_an_uninterrupted_one(whole, tmp_path):
    folder, expected, model, options = whole
    for epoch in (0, 2):
        with pytest.raises(Killed):
            train(tmp_path, build(**options), callbacks=[KillIn(epoch)])
    run, resumed = train(tmp_path, build(**options))
    assert run.history.keys() == expected.history.keys()
    for name, values in run.history.items():
        assert_same(values, expected.history[name])
    assert [row["epoch"] for row in table(tmp_path)] == ["1", "2", "3", "4"]
    for one, other in zip(resumed.weights, model.weights, strict=True):
        assert_same(keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other))
    ours, theirs = arrays(tmp_path / "state.npz"), arrays(folder / "state.npz")
    assert ours.keys() == theirs.keys()
    for name in ours.keys() - {"information"}:
        assert_same(ours[name], theirs[name])


def assert_same(ours, theirs):
    """Bit for bit, or where the backend compiles as near as it computes the same thing twice."""
    if keras.backend.backend() == "torch":
        np.testing.assert_array_equal(ours, theirs)
    else:
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_best_and_last_weights_are_those_that_were_validated(whole):
    folder, run, _, options = whole
    values = run.history["val_loss"]
    assert run.best == min(values) and run.best_epoch == 1 + values.index(run.best)
    model = build(**options)
    RunFolder(folder).load_best(model)
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(run.best, rel=1e-5)
    model.load_weights(folder / "last.weights.h5")
    assert model.evaluate(X, Y, verbose=0) == pytest.approx(values[-1], rel=1e-5)


def test_a_finished_run_is_not_trained_further(whole):
    folder, expected, model, options = whole
    assert RunFolder(folder).is_done(4) and not RunFolder(folder).is_done(5)
    run, again = train(folder, build(**options), callbacks=[KillIn(4), KillIn(0)])
    assert run.history == expected.history
    for one, other in zip(again.weights, model.weights, strict=True):
        np.testing.assert_array_equal(
            keras.ops.convert_to_numpy(one), keras.ops.convert_to_numpy(other)
        )


def test_the_curve_shows_losses_and_learning_rates(whole):
    folder, run, _, _ = whole
    rows = table(folder)
    assert [float(row["val_loss"]) for row in rows] == run.history["val_loss"]
    rates = [float(row["learning_rate"]) for row in rows]
    np.testing.assert_allclose(rates, [0.025, 0.0125, 0.00625, 0.003125], rtol=1e-5)


def test_the_curve_is_drawn_where_matplotlib_is_installed(tmp_path, monkeypatch, caplog):
    history = {"loss": [2.0, None, 1.0], "learning_rate": [1.0, 1.0, 1.0], "val_dice": [0, 0.5, 1]}
    DRAW(tmp_path / "curves.png", history, range(1, 4))
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for _ in range(2):
        DRAW(tmp_path / "none.png", history, range(1, 4))
    assert [record.message.split(",")[0] for record in caplog.records] == [
        "The learning curves are written only as CSV"
    ]
    assert not (tmp_path / "none.png").exists()


class Worse(keras.callbacks.Callback):
    """Validation that is best in the second epoch."""

    def on_epoch_end(self, epoch, logs=None):
        logs["val_loss"] = (3.0, 1.0, 2.0, 1.5, 1.0, 0.5)[epoch]


@pytest.mark.parametrize("scaled", [False, True])
def test_a_rate_that_a_callback_set_is_kept_over_an_interruption(tmp_path, scaled):
    """Halved after each epoch."""

    def decoupled():
        model = light()
        optimizer = DecoupledOptimizer(keras.optimizers.SGD(0.25))
        if scaled:
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        model.compile(optimizer, "mse", run_eagerly=EAGER)
        return model

    class Halve(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.optimizer.learning_rate = 0.5 * float(self.model.optimizer.learning_rate)

    with pytest.raises(Killed):
        train(tmp_path, decoupled(), callbacks=[Halve(), KillIn(2)])
    run, model = train(tmp_path, decoupled(), callbacks=[Halve()])
    # As it is at the end of an epoch, where the next begins.
    assert run.history["learning_rate"] == [0.125, 0.0625, 0.03125, 0.015625]
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert [float(copy.learning_rate) for copy in inner.copies] == [0.03125]


def test_patience_is_kept_over_an_interruption(tmp_path):
    options = dict(epochs=6, patience=3)
    with pytest.raises(Killed):
        train(tmp_path, callbacks=[Worse(), KillIn(3)], **options)
    run, _ = train(tmp_path, callbacks=[Worse()], **options)
    assert (run.epoch, run.best, run.best_epoch, run.stopped) == (5, 1.0, 2, True)
    assert RunFolder(tmp_path).is_done(6)
    run, _ = train(tmp_path, callbacks=[Worse()], **options)
    assert run.epoch == 5


@pytest.mark.parametrize("moment", ["state", "weights", "curve"])
def test_an_interrupted_write_leaves_every_file_whole(tmp_path, monkeypatch, moment):
    train(tmp_path, epochs=1)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def cut(path, *_, **__):
        with open(path, "wb") as file:
            file.write(b"half")
        raise Killed

    with monkeypatch.context() as patch:
        if moment == "state":
            patch.setattr(np, "savez", cut)
        elif moment == "weights":
            patch.setattr(keras.Model, "save_weights", lambda model, path: cut(path))
        else:
            patch.setattr(run_folder, "write_curves", cut_curve(cut))
        with pytest.raises(Killed):
            train(tmp_path, epochs=2)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not any(b"half" in content for content in after.values())
    assert after.keys() == before.keys()
    run, _ = train(tmp_path, epochs=2)
    assert run.epoch == 2 and len(table(tmp_path)) == 2


def cut_curve(cut):
    def write(folder, history):
        if len(history["loss"]) == 2:
            with run_folder.atomic_path(folder / "curves.csv") as temporary:
                cut(temporary)

    return write


@pytest.mark.parametrize("full", ["check_space_for_weights", "write_state", "write_curves"])
def test_of_a_full_disk_the_folder_is_named_and_the_run_goes_on_later(tmp_path, monkeypatch, full):
    train(tmp_path, epochs=1)

    def raises(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(run_folder, full, raises)
        with pytest.raises(InputError, match=r"No space left on device.*start it again") as told:
            train(tmp_path, epochs=2)
    assert str(tmp_path) in str(told.value)
    assert not list(tmp_path.glob(".*"))
    assert train(tmp_path, epochs=2)[0].epoch == 2


def test_what_a_killed_program_left_is_cleared(tmp_path):
    (tmp_path / ".writing-x.npz").write_bytes(b"half")
    train(tmp_path, epochs=1)
    assert not list(tmp_path.glob(".writing-*"))


def test_what_a_kill_after_the_last_epoch_left_is_finished(tmp_path):
    train(tmp_path, epochs=2)
    curves = (tmp_path / "curves.csv").read_bytes()
    (tmp_path / "curves.csv").write_bytes(b"of the epoch before")
    left = tmp_path / ".writing-held-ab_d3fgh.png"
    left.touch()
    assert not RunFolder(tmp_path).is_done(3)
    assert left.exists()
    assert RunFolder(tmp_path).is_done(2)
    assert (tmp_path / "curves.csv").read_bytes() == curves
    assert not left.exists()


def test_a_state_of_another_model_is_refused_and_kept(tmp_path):
    train(tmp_path, epochs=1)
    before = (tmp_path / "state.npz").read_bytes()
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.compile("sgd", "mse")
    weights = other.get_weights()
    with pytest.raises(InputError, match=r"state\.npz belongs to another model"):
        train(tmp_path, other)
    assert (tmp_path / "state.npz").read_bytes() == before
    for one, kept in zip(other.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(one, kept)
    (tmp_path / "state.npz").write_bytes(before[:100])
    with pytest.raises(InputError, match="is not the state of a run"):
        train(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        *({"epoch": "2"}, {"epoch": -1}, {"epoch": True}, {"best_epoch": 9}, {"best": "high"}),
        *({"history": []}, {"history": {"loss": [1.0, 2.0]}}, {"history": {"loss": ["a"]}}),
        *({"stopped": 1}, None, []),
    ],
    ids=str,
)
def test_a_state_that_does_not_say_how_far_it_is_is_refused(tmp_path, wrong):
    train(tmp_path, epochs=1)
    rewrite(tmp_path / "state.npz", lambda said: wrong and {**said, **wrong})
    run = RunFolder(tmp_path)
    for read in (lambda: run.restore(light()), lambda: run.is_done(1)):
        with pytest.raises(InputError, match="does not say how far its run is"):
            read()
    assert run.epoch == 0


def test_a_state_changes_nothing_else_of_a_run(tmp_path):
    train(tmp_path, epochs=1)
    rewrite(tmp_path / "state.npz", lambda said: {**said, "folder": "elsewhere", "writes": False})
    run = RunFolder(tmp_path)
    assert run.is_done(1)
    assert (run.folder, run.writes, run.epoch) == (tmp_path, True, 1)


def test_a_state_whose_arrays_are_others_than_it_says_is_refused(tmp_path):
    train(tmp_path, epochs=1)
    path = tmp_path / "state.npz"
    held = arrays(path)
    for name, value in (
        ("variable_00000", np.ones((1, 1), "float32")),
        ("variable_00000", np.full(held["variable_00000"].shape, "text")),
        ("random_python", np.zeros(3, "uint64")),
        ("random_numpy", held["random_numpy"][:9]),
    ):
        np.savez(path, **{**held, name: value})
        with pytest.raises(InputError, match="is not the state of a run"):
            RunFolder(tmp_path).restore(light())
    np.savez_compressed(path, **held, more=np.zeros(10**6))  # a thousandth of it on the disk
    with pytest.raises(InputError, match="is not the state of a run"):
        RunFolder(tmp_path).restore(light())


def test_damaged_best_weights_are_one_sentence(tmp_path):
    run, model = train(tmp_path, epochs=1)
    path = tmp_path / "best.weights.h5"
    content = path.read_bytes()
    run.load_best(model)
    path.write_bytes(content[:1000])
    with pytest.raises(InputError, match=r"cannot be used .*Train again in another folder"):
        run.load_best(model)
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        file["layers/dense/vars/0"][0, 0] = np.nan
    with pytest.raises(InputError, match=r"the run in .* hold NaN or infinite values"):
        run.load_best(model)
    path.write_bytes(content)
    with h5py.File(path, "r+") as file:
        del file["layers/dense/vars/0"]
    with pytest.raises(InputError, match="cannot be loaded into the model") as caught:
        run.load_best(light())
    assert str(caught.value).isprintable()


def rewrite(path, change):
    """Put other information into a state."""
    held = arrays(path)
    state = json.loads(held["information"].tobytes())
    state["information"] = change(state["information"])
    np.savez(path, **{**held, "information": np.frombuffer(json.dumps(state).encode(), "uint8")})


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_state(tmp_path):
    train(tmp_path, epochs=1)
    before = (tmp_path / "state.npz").read_bytes()
    model = light()
    model.compile(model.optimizer, lambda y, p: keras.ops.mean(p, axis=-1) * float("nan"))
    with pytest.raises(InputError, match="loss of epoch 2 is nan"):
        train(tmp_path, model)
    assert (tmp_path / "state.npz").read_bytes() == before


def test_a_run_without_a_best_epoch_is_told(tmp_path):
    run = RunFolder(tmp_path, monitor="val_dice", mode="max")
    run.epoch = 3
    with pytest.raises(InputError, match=r"val_dice was not a number in any of the 3 epochs"):
        run.said_best()


def test_two_programs_are_kept_apart(tmp_path):
    with (
        RunFolder(tmp_path)._locked(),
        pytest.raises(InputError, match="Another program is training"),
    ):
        train(tmp_path)


def test_what_cannot_be_monitored_is_told_before_or_after_the_first_epoch(tmp_path):
    with pytest.raises(InputError, match="nothing to validate on"):
        RunFolder(tmp_path).fit(light(), X, Y, epochs=1)
    with pytest.raises(InputError, match="val_dice, which is not computed; choose one of loss"):
        train(tmp_path, monitor="val_dice", mode="max")
    with pytest.raises(InputError, match="mode"):
        RunFolder(tmp_path, mode="best")
    with pytest.raises(InputError, match="patience"):
        RunFolder(tmp_path, patience=0)
    with pytest.raises(InputError, match="no weights yet"):
        RunFolder(tmp_path).load_best(light())
