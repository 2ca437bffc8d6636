"""What an optimiser must know of TensorFlow: traces, and the replicas of `tf.distribute`.

On JAX and PyTorch an optimiser is given gradients of the whole batch. Keras on TensorFlow gives it
those of one replica's share, and sums them where each variable is updated: after clipping, and
where nothing else can see the sum.
"""

import contextlib
import functools

import keras


@contextlib.contextmanager
def untraced():
    """Context in which values are computed at once, also where TensorFlow traces a function.

    Variables made in it belong to no trace either: TensorFlow traces a function that made
    variables a second time.
    """
    if keras.backend.backend() != "tensorflow":
        yield
        return
    import tensorflow as tf

    # A strategy of `tf.distribute` decides by itself where variables are.
    own = not tf.executing_eagerly() and not tf.distribute.has_strategy()
    with tf.init_scope():
        with tf.variable_creator_scope(_plain_variable) if own else contextlib.nullcontext():
            yield


def _plain_variable(next_creator, *, initial_value, trainable, name, dtype, **_):
    """A variable as one made outside of traces; `next_creator` would tell the trace of it."""
    return _variable_class()(initial_value, trainable=trainable, name=name, dtype=dtype)


@functools.cache
def _variable_class():
    """What `tf.Variable` makes where nothing is traced, which has no public name."""
    import tensorflow as tf

    with tf.Graph().as_default():  # It knows of no trace.
        return type(tf.Variable(0.0))


def count():
    """Number of replicas whose gradients an optimiser does not see; 1 without a strategy."""
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def summed(gradients):
    """Gradients of the whole batch.

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
    """One replica's share of sums, for an optimiser that will sum it up again.

    Args:
        gradients: list of tensors or `None`, as `summed` gives them.

    Returns:
        List of them divided by the number of replicas.
    """
    if count() == 1:
        return gradients
    return [None if gradient is None else gradient / count() for gradient in gradients]
