"""Tell tasks that weights are loaded, also into a model that they share with others."""

import contextlib
import contextvars
import weakref

_TASKS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()  # Of a model: a set of tasks.
_OWN = contextvars.ContextVar("own", default=False)


def tell_of_loading(task, *models):
    """Have a task's `weights_loaded()` called when weights are loaded into it or into its models.

    Args:
        task: `keras.Model` with that method.
        models: the models of which it is made.
    """
    for model in (task, *models):
        _TASKS.setdefault(model, weakref.WeakSet()).add(task)


def weights_were_loaded(model):
    """Call the method of all tasks that use a model.

    Args:
        model: `keras.Model`.

    Example:
        >>> weights_were_loaded(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
    """
    if not _OWN.get():
        for task in list(_TASKS.get(model, ())):
            task.weights_loaded()


@contextlib.contextmanager
def loading_own_weights():
    """Within the block no task is told: it is given weights that it was trained to have."""
    token = _OWN.set(True)
    try:
        yield
    finally:
        _OWN.reset(token)
