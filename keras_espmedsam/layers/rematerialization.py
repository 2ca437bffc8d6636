"""Gradient checkpointing: recompute the inside of a block instead of storing it."""

import functools

import keras
from keras import ops


def rematerializable(call):
    """Decorate a layer's `call(x, ...)` to add the attribute `rematerialize`.

    If it is true, the backward pass recomputes the inside of the layer from its input, so that
    only the input is stored. Outputs, gradients and the updates of BatchNorm do not change.

    `keras.RematScope` cannot be used: on JAX it traces the argument `training`, on PyTorch it
    updates BatchNorm's statistics twice per step, on TensorFlow it takes no argument `None`.

    Args:
        call: the method; its first argument is one tensor.

    Example:
        >>> block = MBConv()
        >>> x = np.ones((1, 8, 8, 4), "float32")
        >>> y = block(x)
        >>> block.rematerialize = True
        >>> bool(keras.ops.all(keras.ops.isclose(block(x), y)))
        True

    Source: Chen et al., Training deep nets with sublinear memory cost (arXiv 1604.06174).
    """

    @functools.wraps(call)
    def wrapped(self, x, *args, **kwargs):
        if not getattr(self, "rematerialize", False) or kwargs.get("training") is False:
            return call(self, x, *args, **kwargs)
        trained, other = self.trainable_variables, self.non_trainable_variables
        kept = [ops.convert_to_tensor(variable.value) for variable in other]
        changed = []

        def inside(x, *values):
            # All variables are read from the scope: recomputed code must not assign.
            mapping = [*zip(trained, values, strict=True), *zip(other, kept, strict=True)]
            with keras.StatelessScope(state_mapping=mapping) as scope:
                y = call(self, x, *args, **kwargs)
            new = [scope.get_current_value(variable) for variable in other]
            changed[:] = [i for i, value in enumerate(new) if value is not kept[i]]
            return [y, *(new[i] for i in changed)]

        values = [ops.convert_to_tensor(variable.value) for variable in trained]
        y, *updates = keras.remat(inside)(x, *values)
        for i, update in zip(changed, updates, strict=True):
            other[i].assign(update)
        return y

    wrapped.is_rematerializable = True
    return wrapped


def is_rematerializable(layer):
    """Whether a layer has the attribute `rematerialize`.

    Args:
        layer: `keras.layers.Layer`.
    """
    return hasattr(layer.call, "is_rematerializable")
