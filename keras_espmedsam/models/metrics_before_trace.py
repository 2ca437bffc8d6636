"""Create variables of losses, metrics and optimizers before TensorFlow traces a step.

A function that creates variables is traced twice.
"""

import contextlib

import keras

from keras_espmedsam.optimizers.replicas import untraced


def made_before_trace(compute):
    """Create the variables of a compiled model's losses or metrics outside of a trace.

    Keras creates them when it first sees targets and outputs, which on TensorFlow is in the first
    trace of a step; and TensorFlow traces a function that creates variables twice. Does nothing
    outside of a trace, on other backends and under a strategy of `tf.distribute`, where Keras has
    already created them.

    Args:
        compute: function without arguments that calls Keras' `compute_loss` or `compute_metrics`
            as they will be called. It is traced, but never run.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if tf.executing_eagerly() or tf.distribute.has_strategy():
        return
    # Keras creates the variables when the scope ends, outside the trace.
    scope = keras.StatelessScope()
    with contextlib.ExitStack() as left:
        scope.__enter__()
        left.callback(_leave, scope)
        # Inside a function that is never called: otherwise, side effects of a user's metric (a
        # variable that Keras does not know, a print) would happen twice in each step.
        tf.function(lambda: _without_result(compute), autograph=False).get_concrete_function()


def optimizer_made_before_trace(model):
    """Build the optimizer of a compiled model, if it is not built, before TensorFlow traces a step.

    Keras would build it in the first trace, when a `LossScaleOptimizer` does not know its scale
    yet. On JAX and PyTorch Keras builds optimizers earlier.

    Args:
        model: `keras.Model`.
    """
    optimizer = getattr(model, "optimizer", None)
    if keras.backend.backend() != "tensorflow" or optimizer is None or optimizer.built:
        return
    if model.trainable_variables:
        with model.distribute_strategy.scope():
            optimizer.build(model.trainable_variables)


def _without_result(compute):
    compute()


def _leave(scope):
    with untraced():
        scope.__exit__(None, None, None)
