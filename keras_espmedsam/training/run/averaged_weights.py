"""Use moving averages of the weights while a model is validated and saved."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras


def keeps_averages(optimizer: Any) -> bool:
    """Whether an optimizer, or one that it wraps, keeps moving averages of the weights.

    Args:
        optimizer: `keras.optimizers.Optimizer`.

    Example:
        >>> keeps_averages(keras.optimizers.SGD(use_ema=True))
        True
    """
    while optimizer is not None:
        if optimizer.use_ema:
            return True
        # The attribute by which `LossScaleOptimizer` and `DecoupledOptimizer` wrap another.
        within = getattr(optimizer, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", within)
    return False


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Give a model its averaged weights within the block, and restore its own afterwards.

    `fit` itself applies them only at its very end, so they must be validated too. Does nothing for
    an optimizer without averages.

    Args:
        model: compiled `keras.Model`.

    Source: Keras' `SwapEMAWeights`, which does not find optimizers inside optimizers.
    """
    if not keeps_averages(model.optimizer):
        yield
        return
    variables = model.trainable_variables
    own = [keras.ops.convert_to_numpy(variable) for variable in variables]
    model.optimizer.finalize_variable_values(variables)
    for variable in variables:
        # A copy: JAX donates the memory of a model's variables, and with it the average's.
        variable.assign(keras.ops.convert_to_numpy(variable))
    try:
        yield
    finally:
        for variable, value in zip(variables, own, strict=True):
            variable.assign(value)
