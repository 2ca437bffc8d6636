"""Skip the random initial values of a model whose weights are loaded right away.

They take longer than the rest of loading, because JAX compiles an initialiser for every shape.
Keras has no option for this, so its initialisers are wrapped while a model is loaded.
"""

import contextlib
import contextvars
import functools
import math
import threading
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_espmedsam.errors import InputError

# The value that each gives meanwhile: NaN instead of random numbers. Keras' other random
# initialisers, such as Glorot's, inherit from the first.
_VALUES = {
    keras.initializers.VarianceScaling: np.nan,
    keras.initializers.RandomNormal: np.nan,
    keras.initializers.RandomUniform: np.nan,
    keras.initializers.TruncatedNormal: np.nan,
    keras.initializers.Zeros: 0.0,
    keras.initializers.Ones: 1.0,
}
_undrawn: contextvars.ContextVar["_Budget | None"] = contextvars.ContextVar("undrawn", default=None)
_lock = threading.Lock()
_blocks = 0


def load_undrawn(load: Callable[[], Any], most: int | None = None) -> Any:
    """Load a model without computing the initial values that its weights replace.

    Args:
        load: callable that returns a model with loaded weights.
        most: the most numbers that the model may have; `None` for any.

    Returns:
        The model from `load`. If some values were not replaced, such as those of a new head,
        `load` is called again with all initial values.

    Raises:
        InputError: when the model has more numbers, before they fill the memory.
    """
    # Under a distribution, JAX traces an initialiser to lay out its values, so it must be real.
    if keras.distribution.distribution() is not None:
        return load()
    with _values_left_out(most):
        model = load()
    return load() if any(map(_is_left_out, model.weights)) else model


@contextlib.contextmanager
def _values_left_out(most):
    """Use the initial values of `_VALUES` in this thread, for at most `most` numbers."""
    global _blocks
    with _lock:
        if _blocks == 0:
            for initializer, value in _VALUES.items():
                initializer.__call__ = _wrapped(initializer.__call__, value)
        _blocks += 1
    token = _undrawn.set(_Budget(most))
    try:
        yield
    finally:
        _undrawn.reset(token)
        with _lock:
            _blocks -= 1
            if _blocks == 0:
                for initializer in _VALUES:
                    initializer.__call__ = initializer.__call__.__wrapped__


def _wrapped(draw, value):
    @functools.wraps(draw)
    def call(self, shape, dtype=None, **kwargs):
        budget = _undrawn.get()
        if budget is None:
            return draw(self, shape, dtype, **kwargs)
        budget.take(math.prod(shape))
        if not keras.backend.is_float_dtype(dtype or keras.config.floatx()):
            return draw(self, shape, dtype, **kwargs)
        return keras.ops.convert_to_tensor(np.full(shape, value, "float32"), dtype)

    return call


class _Budget:
    """The count of numbers that may still be created."""

    def __init__(self, most):
        self.left = self.most = most

    def take(self, count):
        if self.most is None:
            return
        self.left -= count
        if self.left < 0:
            raise InputError(
                "The described network has many more numbers than its weights; they are another "
                "network's, or the description is damaged. Install, download or save the preset "
                "again."
            )


def _is_left_out(weight):
    if not keras.backend.is_float_dtype(weight.dtype) or 0 in weight.shape:
        return False
    return bool(np.isnan(keras.ops.convert_to_numpy(weight).flat[0]))
