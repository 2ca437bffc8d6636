"""Join many small tensors to one vector, and split it again, in few operations.

Each backend has its own form of both, since this is where the time of a step goes: Keras'
operations cost some ten microseconds each on PyTorch, XLA compiles each different slice, and
TensorFlow needs half a millisecond for each node of the first step's graph.
"""

import keras
from keras import ops


def joined(values, dtype):
    """Join all elements to one vector, detached from their computation.

    Args:
        values: list of tensors or `keras.Variable`.
        dtype: str.

    Returns:
        Tensor `(size,)`.

    Example:
        >>> joined([np.ones((1, 2), "float32"), np.zeros(1, "float32")], "float32").shape[0]
        3
    """
    values = [value.value if isinstance(value, keras.Variable) else value for value in values]
    if keras.backend.backend() == "torch":
        import torch

        values = [ops.convert_to_tensor(value).detach().reshape(-1) for value in values]
        return ops.cast(torch.cat(values), dtype)
    # On TensorFlow a gradient may be a few rows of a variable; converting it gives all rows.
    values = [ops.cast(ops.convert_to_tensor(value), dtype) for value in values]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        flat = tf.constant([-1])
        return tf.concat([v if v.shape.rank == 1 else tf.reshape(v, flat) for v in values], 0)
    return ops.concatenate([ops.reshape(value, (-1,)) for value in values])


def spread(vector, variables, offsets=None):
    """Assign the consecutive parts of a vector to variables.

    Args:
        vector: tensor `(size,)`.
        variables: list of `keras.Variable`.
        offsets: where each part begins, from `opaque_offsets`.

    Example:
        >>> variables = [keras.Variable([0.0, 0.0]), keras.Variable([0.0])]
        >>> spread(keras.ops.convert_to_tensor([1.0, 2.0, 3.0]), variables)
        >>> float(variables[1][0])
        3.0
    """
    if keras.backend.backend() == "torch":
        import torch

        parts = torch.split(vector.detach(), [v.value.numel() for v in variables])
        with torch.no_grad():
            for part, variable in zip(parts, variables, strict=True):
                variable.value.copy_(part.view(variable.value.shape))
        return
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        shapes = [tuple(variable.shape) for variable in variables]
        # One node for each shape, and none for a vector, which needs no reshape.
        targets = {s: tf.constant(s, "int32") for s in set(shapes) if len(s) != 1}
        parts = tf.split(vector, [_size(variable) for variable in variables])
        for part, shape, variable in zip(parts, shapes, variables, strict=True):
            variable.assign(tf.reshape(part, targets[shape]) if shape in targets else part)
        return
    if len(variables) == 1:
        parts = [vector]
    elif offsets is None:
        parts = ops.split(vector, begins(variables)[1:])
    else:
        parts = [
            ops.slice(vector, [offset], [_size(variable)])
            for offset, variable in zip(offsets, variables, strict=True)
        ]
    for part, variable in zip(parts, variables, strict=True):
        variable.assign(ops.reshape(part, variable.shape))


def opaque_offsets(variables, count):
    """Return where each variable's part begins, hidden from JAX' compiler on a CPU.

    XLA compiles each slice of a vector separately there, 7 ms each, but slices of one size only
    once if it does not know where they begin. On accelerators a branch would wait for the host.

    Args:
        variables: list of `keras.Variable`.
        count: integer tensor, never negative, which the compiler does not know.

    Returns:
        List of integer tensors, or `None` if nothing needs to be hidden.
    """
    if not in_jax_trace(count):
        return None
    import jax

    if jax.default_backend() != "cpu":
        return None
    known = [jax.numpy.int32(begin) for begin in begins(variables)]
    return jax.lax.cond(count >= 0, lambda: known, lambda: [0 * begin for begin in known])


def in_jax_trace(value):
    """Whether JAX traces the value, so that it cannot be read.

    Example:
        >>> in_jax_trace(keras.ops.ones(1))
        False
    """
    if keras.backend.backend() != "jax":
        return False
    import jax

    return isinstance(value, jax.core.Tracer)


def begins(variables):
    """Return where each variable's part begins in one vector, list of int.

    Example:
        >>> begins([np.zeros((2, 3)), np.zeros(4), np.zeros(1)])
        [0, 6, 10]
    """
    found = [0]
    for variable in variables:
        found.append(found[-1] + _size(variable))
    return found[:-1]


def _size(variable):
    size = 1
    for length in variable.shape:
        size *= int(length)
    return size
