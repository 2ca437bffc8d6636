"""TensorFlow's traces, and replicas of `tf.distribute`, as an optimizer needs to know them.

On JAX and PyTorch an optimizer gets gradients of the whole batch. On TensorFlow, Keras passes it
those of one replica's share, and sums them as each variable is updated: after clipping, and where
nothing else can see the sum.
"""

import contextlib
import functools

import keras


@contextlib.contextmanager
def untraced():
    """Compute values at once within the block, even if TensorFlow traces a function.

    Variables made in it belong to no trace either: TensorFlow traces a function that made
    variables a second time.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    # A strategy of `tf.distribute` itself decides where variables are.
    own = not tf.executing_eagerly() and not tf.distribute.has_strategy()
    with tf.init_scope():
        with tf.variable_creator_scope(_plain_variable) if own else contextlib.nullcontext():
            yield


def _plain_variable(next_creator, *, initial_value, trainable, name, dtype, **_):
    """Make a variable as outside of traces; `next_creator` would add it to the trace."""
    return _variable_class()(initial_value, trainable=trainable, name=name, dtype=dtype)


@functools.cache
def _variable_class():
    """Return the class that `tf.Variable` makes outside of traces, which has no public name."""
    import tensorflow as tf

    with tf.Graph().as_default():  # A graph outside of any trace.
        return type(tf.Variable(0.0))


def count():
    """Return the number of replicas that share a batch; 1 without a strategy."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def summed(gradients):
    """Return gradients of the whole batch.

    Args:
        gradients: list of tensors or `None`, of one replica.

    Returns:
        List of the sums over all replicas; the same in each.
    """
    if count() == 1:
        return gradients
    import tensorflow as tf

    given = [gradient for gradient in gradients if gradient is not None]
    sums = iter(tf.distribute.get_replica_context().all_reduce("sum", given))
    return [None if gradient is None else next(sums) for gradient in gradients]


def shares(gradients):
    """Return one replica's share of sums, for an optimizer that will sum them again.

    Args:
        gradients: list of tensors or `None`, from `summed`.

    Returns:
        List of them divided by the number of replicas.
    """
    if count() == 1:
        return gradients
    return [None if gradient is None else gradient / count() for gradient in gradients]
