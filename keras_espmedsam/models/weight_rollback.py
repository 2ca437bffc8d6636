"""Weights that survive an error while a model trains."""

import contextlib

import keras


@contextlib.contextmanager
def kept_weights(model):
    """Give a model its weights back when the block ends with an error.

    Keras on JAX takes them out of the model while it trains or evaluates, and an error in the data
    leaves it without any. A step that was done counts.

    Args:
        model: `keras.Model`.

    Source: ours.
    """
    if keras.backend.backend() != "jax":
        yield
        return
    variables = [*model.variables, *model.metrics_variables]
    if getattr(model, "optimizer", None) is not None:
        variables += model.optimizer.variables
    held = [(variable, variable.value) for variable in variables]
    try:
        yield
    except BaseException:
        for variable, value in held:
            # The first step takes the arrays over; what it left is brought back below.
            if not value.is_deleted():
                variable.assign(value)
        model.jax_state_sync()
        raise
