"""Keep a model's weights when training fails."""

import contextlib

import keras


@contextlib.contextmanager
def kept_weights(model):
    """Restore a model's weights when the block ends with an error.

    Keras on JAX takes them out of the model while it trains or evaluates, and an error in the data
    leaves the model without any. Completed steps are kept.

    Args:
        model: `keras.Model`.
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
            # The first step consumes the arrays; `jax_state_sync` restores its results below.
            if not value.is_deleted():
                variable.assign(value)
        model.jax_state_sync()
        raise
