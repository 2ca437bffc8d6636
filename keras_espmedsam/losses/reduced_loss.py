"""Base class of all losses, whose mean needs no upload from the host."""

import math

import keras
from keras import ops


class ReducedLoss(keras.losses.Loss):
    """A Keras loss that, on PyTorch, computes its mean without uploading the divisor.

    Keras makes a tensor of the number of values, in every step and for every loss, and an upload
    makes a GPU wait for the host. The value is the same, bit for bit.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        # On the other backends the number is part of the compiled program; and Keras' masks change
        # the mean.
        if (
            keras.backend.backend() != "torch"
            or self.reduction not in ("sum_over_batch_size", "mean")
            or getattr(y_pred, "_keras_mask", None) is not None
        ):
            return super().__call__(y_true, y_pred, sample_weight)
        # Not `copy.copy`, for which Keras saves the loss to a file and loads it.
        unreduced = object.__new__(type(self))
        vars(unreduced).update(vars(self), reduction=None)
        values = keras.losses.Loss.__call__(unreduced, y_true, y_pred, sample_weight)
        count = math.prod(values.shape)
        return ops.sum(values) / count if count else values
