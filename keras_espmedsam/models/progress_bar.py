"""Keras' progress bar without the metrics that measured nothing."""

import keras

from keras_espmedsam.metrics.unmeasured import unmeasured


def with_progress_bar(arguments):
    """Return arguments of `fit` or `evaluate` with a `ProgressBar` in place of Keras' own.

    Args:
        arguments: dict. With `verbose=0`, a bar of the caller's or the caller's own
            `keras.callbacks.CallbackList`, they are returned as they are.

    Example:
        >>> [type(one).__name__ for one in with_progress_bar({})["callbacks"]]
        ['ProgressBar']
    """
    callbacks = arguments.get("callbacks")
    if arguments.get("verbose", "auto") == 0 or isinstance(callbacks, keras.callbacks.CallbackList):
        return arguments
    callbacks = keras.tree.flatten(callbacks or [])
    if any(isinstance(one, keras.callbacks.ProgbarLogger) for one in callbacks):
        return arguments
    # Last, as Keras' own: the others may change the values.
    return {**arguments, "callbacks": [*callbacks, ProgressBar()]}


class ProgressBar(keras.callbacks.ProgbarLogger):
    """Keras' progress bar, which leaves out what was not measured; see `unmeasured`.

    With several targets, most batches label only some of them. Keras would print `nan` for the
    others.

    Example:
        >>> isinstance(ProgressBar(), keras.callbacks.ProgbarLogger)
        True
    """

    # Otherwise Keras waits for the results of every batch before it continues.
    async_safe = True

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch, _measured(logs))

    def on_test_batch_end(self, batch, logs=None):
        super().on_test_batch_end(batch, _measured(logs))

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, _measured(logs))

    def on_test_end(self, logs=None):
        super().on_test_end(_measured(logs))


def _measured(logs):
    missing = unmeasured(logs or {})
    return {name: value for name, value in (logs or {}).items() if name not in missing}
