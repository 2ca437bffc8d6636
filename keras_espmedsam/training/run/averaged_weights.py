"""Moving averages of the weights, in the model's place while it is validated and written."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


def keeps_averages(optimizer: Any) -> bool:
    """Whether an optimiser, or one that it wraps, keeps moving averages of the weights.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Example:
        >>> keeps_averages(keras.optimizers.SGD(use_ema=True))
        True

    Source: ours.
    """
    while optimizer is not None:
        if optimizer.use_ema:
            return True
        # What `LossScaleOptimizer` and `DecoupledOptimizer` wrap.
        within = getattr(optimizer, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", within)
    return False


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Give a model its averaged weights within the block, and its own again afterwards.

    `fit` itself puts them in at its very end, so what is chosen by validation must be they as
    well. Nothing happens for an optimiser without averages.

    Args:
        model: compiled `keras.Model`.

    Source: ours; Keras' `SwapEMAWeights` does not know optimisers within optimisers.
    """
    if not keeps_averages(model.optimizer):
        yield
        return
    variables = model.trainable_variables
    own = [keras.ops.convert_to_numpy(variable) for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    for variable in variables:
        # A copy: JAX gives the memory of a model's variables away, and the average's own with it.
        variable.assign(keras.ops.convert_to_numpy(variable))
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
