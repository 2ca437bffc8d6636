"""What an optimiser must know of TensorFlow: traces, and the replicas of `tf.distribute`.

On JAX and PyTorch an optimiser is given gradients of the whole batch. Keras on TensorFlow gives it
those of one replica's share, and sums them where each variable is updated: after clipping, and
where nothing else can see the sum.
"""

import contextlib

import keras


def untraced():
    """Context in which values are computed at once, also where TensorFlow traces a function."""
    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    return tf.init_scope()


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
