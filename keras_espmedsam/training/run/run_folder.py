"""A folder that holds a training run, which goes on where it was after any interruption."""

import contextlib
import math
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_espmedsam._files import atomic_path, remove_leftovers
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.run.averaged_weights import averaged, keeps_averages
from keras_espmedsam.training.run.folder_lock import only_program
from keras_espmedsam.training.run.learning_curves import write_curves
from keras_espmedsam.training.run.random_states import set_random_states
from keras_espmedsam.training.run.run_state import assign_state, read_state, write_state
from keras_espmedsam.training.run.tensorboard_log import TensorBoardLog

STATE, BEST, LAST = "state.npz", "best.weights.h5", "last.weights.h5"


class RunFolder:
    """Train with `model.fit` so that a run that was killed goes on where it was.

    At the end of every epoch the whole state (weights, optimiser, random generators, epoch,
    curve, patience) is written to one file, which replaces the one before in a single step. A run
    killed at any moment, by the same program started again, loses the epoch that it was in and
    nothing else, and draws the same images that it would have drawn. So the number of steps of
    an epoch is the checkpoint interval.

    The folder holds `state.npz`, `best.weights.h5` (of the epoch with the best monitored value),
    `last.weights.h5`, `curves.csv`, `curves.png` (with matplotlib installed), and `tensorboard/`
    where asked for. All but the log of TensorBoard, which is appended to, are always whole.

    Args:
        folder: path; made when it does not exist.
        monitor: str. What the best epoch is chosen by, such as `"val_masks_dice"`.
        mode: `"max"` or `"min"`: which of its values is better.
        patience: int or None. Epochs without a better value after which training ends early.
        tensorboard: bool. Write a log for TensorBoard as well.
        writes: bool. False in all but one of several processes that train together (see
            `distribute`): they read the folder, which they share, and wait for the one that writes.

    The attributes `epoch` (finished ones), `history` (dict of name to list of numbers, of all
    epochs since the first start), `best` and `best_epoch` tell where the run is.

    Raises:
        InputError: for an unknown mode or a patience below 1.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> def build():
        ...     model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        ...     model.compile("sgd", "mse")
        ...     return model
        >>> x, y = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
        >>> run = RunFolder(folder, monitor="loss", mode="min")
        >>> _ = run.fit(build(), x, y, epochs=2, verbose=0)
        >>> again = RunFolder(folder, monitor="loss", mode="min")  # the program, started again
        >>> history = again.fit(build(), x, y, epochs=3, verbose=0)
        >>> len(history["loss"]), history["loss"][:2] == run.history["loss"]
        (3, True)

    Source: ours; Keras' `BackupAndRestore` writes two files, each in place.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        monitor: str = "val_loss",
        mode: str = "min",
        patience: int | None = None,
        tensorboard: bool = False,
        writes: bool = True,
    ):
        if mode not in ("max", "min"):
            raise InputError(f"Received mode={mode!r}; expected 'max' or 'min'.")
        if patience is not None and patience < 1:
            raise InputError(f"Received patience={patience}; expected 1 or more, or None.")
        self.folder = Path(folder)
        self.monitor = monitor
        self.mode = mode
        self.patience = patience
        self.tensorboard = tensorboard
        self.writes = writes
        self.epoch = 0
        self.history: dict[str, list[float | None]] = {}
        self.best: float | None = None
        self.best_epoch = 0
        self.stopped = False
        self._random_states: dict[str, Any] | None = None

    def fit(
        self,
        model: keras.Model,
        x: Any = None,
        y: Any = None,
        *,
        epochs: int,
        callbacks: Iterable[keras.callbacks.Callback] = (),
        **kwargs: Any,
    ) -> dict[str, list[float | None]]:
        """Train until `epochs` epochs are done, those of earlier starts included.

        Args:
            model: compiled and built `keras.Model`. Of a distiller, the student's weights are
                those that are written as best and last.
            x, y: as `model.fit` takes them. A data set with the attribute `epoch`, such as
                `SegmentationDataset`, is told where the run is, and not shuffled by Keras.
            epochs: int. Those after which the run is done.
            callbacks: list of Keras callbacks. What they remember is not kept over an
                interruption.
            **kwargs: handed to `model.fit`.

        Returns:
            dict. The history of all epochs. The model has the weights of the last epoch.

        Raises:
            InputError: when the state in the folder belongs to another model, when what is
                monitored is not computed, when a loss is not a number (the state of the epoch
                before is kept then), or when another program trains in the folder.

        Source: ours.
        """
        _check_ready(model)
        if self.monitor.startswith("val_") and not (
            kwargs.get("validation_data") is not None or kwargs.get("validation_split")
        ):
            raise InputError(
                f"The run chooses its best epoch by {self.monitor}, but there is nothing to "
                "validate on; give validation_data, or monitor='loss'."
            )
        callbacks = [*callbacks, _EveryEpoch(self)]
        if self.tensorboard and self.writes:
            callbacks.append(TensorBoardLog(self.folder / "tensorboard"))
        with self._alone() if self.writes else contextlib.nullcontext():
            self.restore(model)
            counting = _counting(x)
            if counting is not None:
                counting.epoch = self.epoch
                kwargs.setdefault("shuffle", False)
            if self.epoch < epochs and not self.stopped:
                model.fit(
                    x, y, initial_epoch=self.epoch, epochs=epochs, callbacks=callbacks, **kwargs
                )
            else:
                model.optimizer.finalize_variable_values(model.trainable_variables)
        while not self.writes and self._written() < self.epoch:
            time.sleep(0.1)
        return self.history

    def is_done(self, epochs: int) -> bool:
        """Whether the run in the folder has ended: by its number of epochs, or early.

        Of one that was killed after its last epoch the curves are written then.

        Args:
            epochs: int. What `fit` would be given.

        Source: ours.
        """
        if not (self.folder / STATE).exists():
            return False
        self._recall(read_state(self.folder / STATE)["information"])
        done = self.stopped or self.epoch >= epochs
        if done and self.writes:
            with self._alone():
                write_curves(self.folder, self.history)
        return done

    def said_best(self) -> str:
        """A sentence that says which epoch is the best.

        Raises:
            InputError: when what is monitored was a number in none.

        Source: ours.
        """
        if self.best is None:
            raise InputError(
                f"In none of the {self.epoch} epochs of the run in {self.folder} was "
                f"{self.monitor} a number; lower the learning rate or clip the gradients, in "
                "another folder."
            )
        return f"{self.monitor} {self.best:.4g} in epoch {self.best_epoch}."

    def _written(self):
        """How many epochs the files in the folder hold."""
        path = self.folder / STATE
        return read_state(path)["information"]["epoch"] if path.exists() else 0

    def restore(self, model: keras.Model) -> None:
        """Put the state in the folder, if there is one, into a model and its optimiser.

        Args:
            model: as for `fit`.

        Raises:
            InputError: when the state belongs to another model or optimiser.

        Source: ours.
        """
        path = self.folder / STATE
        if not path.exists():
            return
        state = read_state(path)
        assign_state(path, state, _variables(model))
        self._recall(state["information"])
        self._random_states = state["random_states"]
        if self.writes:
            # What a kill between two files may have left behind.
            write_curves(self.folder, self.history)

    def load_best(self, model: keras.Model) -> None:
        """Put the weights of the best epoch into a model; of a distiller, into its student.

        Args:
            model: as for `fit`, or any of its architecture.

        Raises:
            InputError: before the first epoch has ended.

        Source: ours.
        """
        path = self.folder / BEST
        if not path.exists():
            raise InputError(f"The run in {self.folder} has no weights yet; call fit() before.")
        with _without_optimizer(getattr(model, "student", model)) as trained:
            trained.load_weights(path)

    def _recall(self, information):
        for name, value in information.items():
            setattr(self, name, value)

    def _end_epoch(self, model, logs):
        values = {name: float(value) for name, value in logs.items()}
        if not math.isfinite(values.get("loss", 0.0)):
            raise InputError(
                f"The loss of epoch {self.epoch + 1} is {values['loss']}; the run in {self.folder} "
                f"keeps the state after {self.epoch} epochs. Lower the learning rate, or clip the "
                "gradients."
            )
        if self.monitor not in values:
            raise InputError(
                f"The run chooses its best epoch by {self.monitor}, which is not computed; choose "
                f"one of {', '.join(values)}."
            )
        values["learning_rate"] = float(keras.ops.convert_to_numpy(model.optimizer.learning_rate))
        for name, value in values.items():
            column = self.history.setdefault(name, [None] * self.epoch)
            column.append(value if math.isfinite(value) else None)
        self.epoch += 1
        for column in self.history.values():
            column.extend([None] * (self.epoch - len(column)))
        current = values[self.monitor]
        better = math.isfinite(current) and (
            self.best is None
            or (current > self.best if self.mode == "max" else current < self.best)
        )
        if better:
            self.best, self.best_epoch = current, self.epoch
        waited = self.epoch - self.best_epoch
        self.stopped = self.patience is not None and waited >= self.patience
        model.stop_training = model.stop_training or self.stopped
        if not self.writes:
            return
        # The state last: killed before, the epoch is repeated and these are written again.
        with averaged(model):
            for name in (BEST, LAST) if better else (LAST,):
                with (
                    atomic_path(self.folder / name) as temporary,
                    _without_optimizer(getattr(model, "student", model)) as trained,
                ):
                    trained.save_weights(temporary)
        names = ("epoch", "history", "best", "best_epoch", "stopped")
        information = {name: getattr(self, name) for name in names}
        write_state(self.folder / STATE, _variables(model), information)
        write_curves(self.folder, self.history)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other programs out of the folder, and clear what a killed one left half-written."""
        with only_program(self.folder):
            remove_leftovers(self.folder, alone=True)
            yield


class _EveryEpoch(keras.callbacks.Callback):
    """Where Keras calls the run, which is no callback itself: `fit` is its only way in."""

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.averages = contextlib.ExitStack()

    def on_epoch_begin(self, epoch, logs=None):
        # Not when the state is read: looking at a first batch, `fit` draws from them itself.
        if self.run._random_states is not None:
            set_random_states(self.run._random_states)
            self.run._random_states = None

    def on_test_begin(self, logs=None):
        if keeps_averages(self.model.optimizer):
            self.averages.enter_context(averaged(self.model))

    def on_test_end(self, logs=None):
        self.averages.close()

    def on_epoch_end(self, epoch, logs=None):
        self.run._end_epoch(self.model, logs or {})


def _check_ready(model):
    if getattr(model, "optimizer", None) is None:
        raise InputError(f"The model {model.name!r} has no optimizer; call compile() before.")
    if not model.built:
        raise InputError(
            f"The model {model.name!r} has no weights yet; call it on a batch before, so that a "
            "state can be put into it."
        )
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _counting(data):
    """The data set that counts epochs: the given one, or what it is a part of."""
    while data is not None and not hasattr(data, "epoch"):
        data = getattr(data, "source", None)
    return data


def _variables(model):
    """What a step changes: weights, states of random generators, and the optimiser's."""
    if hasattr(model, "checkpoint_variables"):
        variables = list(model.checkpoint_variables())
    else:
        passing = {id(v) for v in model.metrics_variables}
        variables = [v for v in model.variables if id(v) not in passing]
    known = {id(v) for v in variables}
    return variables + [v for v in model.optimizer.variables if id(v) not in known]


@contextlib.contextmanager
def _without_optimizer(model):
    """The weights alone: beside the state, the optimiser would make the file three times as big."""
    optimizer = getattr(model, "optimizer", None)
    model.optimizer = None
    try:
        yield model
    finally:
        model.optimizer = optimizer
