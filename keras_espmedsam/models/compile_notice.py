"""Notices in `fit`, `evaluate` and `predict` while their first step compiles."""

import contextlib
import sys

import keras

from keras_espmedsam._compile_notice import CompileNotice


@contextlib.contextmanager
def compile_notices(model, arguments):
    """Print a sentence before Keras' progress bar if the first step compiles for long.

    Prints nothing with `verbose=0`, for steps that run eagerly or are already compiled, or if the
    callbacks are the caller's own `keras.callbacks.CallbackList`.

    Args:
        model: `keras.Model`.
        arguments: dict. Arguments of its `fit`, `evaluate` or `predict`.

    Yields:
        dict. The arguments to call the method with.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
        >>> with compile_notices(model, {"verbose": 0}) as arguments:
        ...     model.predict(np.ones((4, 2)), **arguments).shape
        (4, 1)
    """
    callbacks = arguments.get("callbacks")
    silent = arguments.get("verbose", "auto") == 0 or model.run_eagerly
    if silent or isinstance(callbacks, keras.callbacks.CallbackList):
        yield arguments
        return
    added = _Notices(model)
    try:
        # First in the list, so that nothing is printed once the bar has moved.
        yield {**arguments, "callbacks": [added, *keras.tree.flatten(callbacks or [])]}
    finally:
        added.end()


class _Notices(keras.callbacks.Callback):
    """One notice for the first step of each of training, evaluation and prediction."""

    # Otherwise Keras waits for the results of every batch before it continues.
    async_safe = True

    def __init__(self, model):
        super().__init__()
        # A function that already exists may be compiled, and its steps may simply be slow.
        self._made = {kind: getattr(model, f"{kind}_function") for kind in _STEPS}
        self._notices = {}
        self._has_bar = False

    def _begin(self, kind):
        if kind in self._notices:
            return
        self._notices[kind] = notice = CompileNotice(self._print)
        if getattr(self.model, f"{kind}_function") is not self._made[kind]:
            notice.begin(f"the first {_STEPS[kind]} step", "the next ones are quick")

    def _print(self, sentence):
        if not keras.config.is_interactive_logging_enabled():
            return
        # In `fit`, an unfinished bar occupies the line; Keras redraws it below the notice.
        start = "\n" if self._has_bar and self.params.get("verbose") in (1, "auto") else ""
        with contextlib.suppress(OSError, ValueError):  # A closed stream must not stop training.
            sys.stdout.write(f"{start}{sentence}\n")
            sys.stdout.flush()

    def on_train_batch_begin(self, batch, logs=None):
        self._begin("train")

    def on_train_batch_end(self, batch, logs=None):
        self._notices["train"].end()
        self._has_bar = True

    def on_test_batch_begin(self, batch, logs=None):
        self._begin("test")

    def on_test_batch_end(self, batch, logs=None):
        self._notices["test"].end()

    def on_predict_batch_begin(self, batch, logs=None):
        self._begin("predict")

    def on_predict_batch_end(self, batch, logs=None):
        self._notices["predict"].end()

    def end(self):
        """Print nothing from now on, also after an error."""
        for notice in self._notices.values():
            notice.end()


_STEPS = {"train": "training", "test": "evaluation", "predict": "prediction"}
