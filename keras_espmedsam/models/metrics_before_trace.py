"""TensorFlow traces a step once, and not once more for what was made in the first trace."""

import contextlib

import keras

from keras_espmedsam.optimizers.replicas import untraced


def made_before_trace(compute):
    """Let a compiled model make the variables of its losses or metrics outside of a trace.

    Keras makes them when it first sees targets and outputs, which on TensorFlow is in the first
    trace of a step; and TensorFlow traces a function that makes variables twice. Does nothing
    outside of a trace, on other backends and under a strategy of `tf.distribute`, where Keras has
    made them already.

    Args:
        compute: function without arguments, Keras' `compute_loss` or `compute_metrics` with those
            that they will be called with. Nothing that it does counts, or is done.

    Source: ours.
    """
    if keras.backend.backend() != "tensorflow":
        return
    import tensorflow as tf

    if tf.executing_eagerly() or tf.distribute.has_strategy():
        return
    # Keras makes the variables when the scope ends, which is not in the trace.
    scope = keras.StatelessScope()
    with contextlib.ExitStack() as left:
        scope.__enter__()
        left.callback(_leave, scope)
        # In a function that is never called: what a user's metric does to a variable that Keras
        # does not know, or prints, would otherwise be done twice in each step.
        tf.function(lambda: _without_result(compute), autograph=False).get_concrete_function()


def optimizer_made_before_trace(model):
    """Build the optimiser of a compiled model, if it is not, before TensorFlow traces a step.

    Keras does so in the first trace, where also a `LossScaleOptimizer` does not know its scale
    yet. On JAX and PyTorch it builds optimisers before.

    Args:
        model: `keras.Model`.

    Source: ours.
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
