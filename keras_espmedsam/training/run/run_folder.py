"""A folder that holds a training run and lets it resume after any interruption."""

import contextlib
import math
import os
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import keras

from keras_espmedsam._files import atomic_path, remove_leftovers
from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.space_for_weights import check_space_for_weights
from keras_espmedsam.hub.stored_weights import check_finite_weights, check_weights_file
from keras_espmedsam.models.weight_loading import loading_own_weights
from keras_espmedsam.training.run.averaged_weights import averaged, keeps_averages
from keras_espmedsam.training.run.folder_lock import only_program
from keras_espmedsam.training.run.learning_curves import write_curves
from keras_espmedsam.training.run.random_states import set_random_states
from keras_espmedsam.training.run.run_state import assign_state, read_state, write_state
from keras_espmedsam.training.run.tensorboard_log import TensorBoardLog

STATE, BEST, LAST = "state.npz", "best.weights.h5", "last.weights.h5"
# Attributes of a run that are saved in its state.
_RECALLED = ("epoch", "history", "best", "best_epoch", "stopped")


class RunFolder:
    """Train with `model.fit`, resumably.

    At the end of every epoch the whole state (weights, optimizer, random generators, epoch, curves,
    patience) is written to one file, which atomically replaces the previous one. If the run is
    killed, repeat the same program to resume it: only the unfinished epoch is lost, and the same
    images are drawn as without the interruption. So the number of steps per epoch is the
    checkpoint interval.

    The folder holds `state.npz`, `best.weights.h5` (of the epoch with the best monitored value),
    `last.weights.h5`, `curves.csv`, `curves.png` (if matplotlib is installed), and `tensorboard/`
    if requested. All are complete at any time, except the TensorBoard log, which grows.

    Args:
        folder: path; created if it does not exist.
        monitor: str. The value that decides which epoch is best, such as `"val_masks_dice"`.
        mode: `"max"` or `"min"`: whether higher or lower values are better.
        patience: int or None. Epochs without a better value after which training stops early.
        tensorboard: bool. Also write a log for TensorBoard.
        writes: bool. False in all but one of several processes that train together (see
            `distribute`): they share and read the folder, and wait for the one that writes.

    The attributes `epoch` (number of finished epochs), `history` (dict of name to list of numbers,
    over all starts), `best` and `best_epoch` describe the run's progress.

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

    Source: Keras' `BackupAndRestore`, which writes two files, neither atomically.
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
        """Train until `epochs` epochs are done, including those of earlier starts.

        Args:
            model: compiled and built `keras.Model`. For a distiller, the best and last weights are
                those of its student.
            x, y: as `model.fit` takes them. If a data set has the attribute `epoch`, such as
                `SegmentationDataset`, it is set to the run's epoch, and Keras does not shuffle.
            epochs: int. Total number of epochs.
            callbacks: list of Keras callbacks. Their own state is not kept over an interruption.
            **kwargs: passed to `model.fit`.

        Returns:
            dict. The history of all epochs. The model has the weights of the last epoch.

        Raises:
            InputError: if the state in the folder belongs to another model, if the monitored value
                is not computed, if a loss is not finite (the state of the previous epoch is then
                kept), or if another program trains in the folder.
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
        with self._locked() if self.writes else contextlib.nullcontext():
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

        If it was killed after its last epoch, its curves are written now.

        Args:
            epochs: int. As given to `fit`.
        """
        if not (self.folder / STATE).exists():
            return False
        self._recall(read_state(self.folder / STATE)["information"])
        done = self.stopped or self.epoch >= epochs
        if done and self.writes:
            with self._locked():
                with self._as_input_error():
                    write_curves(self.folder, self.history)
        return done

    def said_best(self) -> str:
        """Return a sentence that says which epoch is the best.

        Raises:
            InputError: if the monitored value was not a number in any epoch.
        """
        if self.best is None:
            raise InputError(
                f"{self.monitor} was not a number in any of the {self.epoch} epochs of the run in "
                f"{self.folder}; label what it measures in the images for validation, or lower the "
                "learning rate or clip the gradients, in another folder."
            )
        return f"{self.monitor} {self.best:.4g} in epoch {self.best_epoch}."

    def _written(self):
        """Number of epochs that the files in the folder contain."""
        path = self.folder / STATE
        if not path.exists():
            return 0
        information = read_state(path)["information"]
        return information["epoch"] if _tells_of_a_run(information) else 0

    def restore(self, model: keras.Model) -> None:
        """Load the state in the folder, if any, into a model and its optimizer.

        Args:
            model: as for `fit`.

        Raises:
            InputError: if the state belongs to another model or optimizer.
        """
        path = self.folder / STATE
        if not path.exists():
            return
        state = read_state(path)
        assign_state(path, state, _variables(model))
        self._recall(state["information"])
        self._random_states = state["random_states"]
        if self.writes:
            # Files that a kill between two writes may have left behind.
            with self._as_input_error():
                write_curves(self.folder, self.history)

    def load_best(self, model: keras.Model) -> None:
        """Load the weights of the best epoch into a model; for a distiller, into its student.

        Args:
            model: as for `fit`, or any of its architecture.

        Raises:
            InputError: before the first epoch has ended.
        """
        path = self.folder / BEST
        if not path.exists():
            raise InputError(f"The run in {self.folder} has no weights yet; call fit() first.")
        check_weights_file(path, f"Train again in another folder, or take {LAST} instead")
        with _without_optimizer(getattr(model, "student", model)) as trained:
            try:
                with warnings.catch_warnings():
                    # Keras skips layers that it does not find, with only a warning.
                    warnings.filterwarnings("error", "Skipping ", UserWarning)
                    with loading_own_weights():
                        trained.load_weights(path)
            # Damaged files, or another model's, fail anywhere in Keras and h5py.
            except Exception as error:
                raise InputError(
                    f"The weights {path} cannot be loaded into the model {trained.name!r} "
                    f"({shown(error, 200)}). They are damaged, or of another model: train again "
                    "in another folder."
                ) from error
            check_finite_weights(trained, f"the run in {self.folder}")

    def _recall(self, information):
        if not _tells_of_a_run(information):
            raise InputError(
                f"The file {self.folder / STATE} does not say how far its run is; expected one "
                "written by RunFolder. Move it away to start over."
            )
        for name in _RECALLED:
            setattr(self, name, information[name])

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
        with self._as_input_error():
            self._write(model, (BEST, LAST) if better else (LAST,))

    @contextlib.contextmanager
    def _as_input_error(self):
        """Turn a failure to write the folder into one sentence."""
        try:
            yield
        except OSError as error:
            raise InputError(
                f"The run in {self.folder} cannot be written ({error.strerror or error}); it keeps "
                "what was written before. Fix that, and start it again to resume."
            ) from error

    def _write(self, model, names):
        # The state last: if killed earlier, the epoch is repeated and these are written again.
        with averaged(model):
            for name in names:
                with (
                    atomic_path(self.folder / name) as temporary,
                    _without_optimizer(getattr(model, "student", model)) as trained,
                ):
                    check_space_for_weights(trained, self.folder)
                    trained.save_weights(temporary)
        information = {name: getattr(self, name) for name in _RECALLED}
        write_state(self.folder / STATE, _variables(model), information)
        write_curves(self.folder, self.history)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other programs out of the folder, and remove a killed one's unfinished files."""
        with only_program(self.folder):
            remove_leftovers(self.folder, alone=True)
            yield


class _EveryEpoch(keras.callbacks.Callback):
    """Calls the run from Keras; the run itself is not a callback, so `fit` is its only way in."""

    def __init__(self, run):
        super().__init__()
        self.run = run
        self.averages = contextlib.ExitStack()

    def on_epoch_begin(self, epoch, logs=None):
        # Not when the state is read: `fit` itself draws random numbers for its first batch.
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


def _tells_of_a_run(information):
    """Whether a state's information, which may come from anywhere, describes a run."""
    if not isinstance(information, dict) or not all(name in information for name in _RECALLED):
        return False
    epoch, history, best, best_epoch, stopped = (information[name] for name in _RECALLED)
    if not (_is_count(epoch) and _is_count(best_epoch) and best_epoch <= epoch):
        return False
    if not (best is None or _is_number(best)) or not isinstance(stopped, bool):
        return False
    return isinstance(history, dict) and all(
        isinstance(column, list)
        and len(column) == epoch
        and all(one is None or _is_number(one) for one in column)
        for column in history.values()
    )


def _is_count(value):
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_ready(model):
    if getattr(model, "optimizer", None) is None:
        raise InputError(f"The model {model.name!r} has no optimizer; call compile() first.")
    if not model.built:
        raise InputError(
            f"The model {model.name!r} has no weights yet; call it on a batch first, so that a "
            "state can be loaded into it."
        )
    if not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def _counting(data):
    """Return the data set that counts epochs: the given one, or the one that it wraps."""
    while data is not None and not hasattr(data, "epoch"):
        data = getattr(data, "source", None)
    return data


def _variables(model):
    """Return all that a step changes: weights, random generators and the optimizer's variables."""
    if hasattr(model, "checkpoint_variables"):
        variables = list(model.checkpoint_variables())
    else:
        passing = {id(v) for v in model.metrics_variables}
        variables = [v for v in model.variables if id(v) not in passing]
    known = {id(v) for v in variables}
    return variables + [v for v in model.optimizer.variables if id(v) not in known]


@contextlib.contextmanager
def _without_optimizer(model):
    """Save only the weights: with the optimizer, the file would be three times as large."""
    optimizer = getattr(model, "optimizer", None)
    model.optimizer = None
    try:
        yield model
    finally:
        model.optimizer = optimizer
