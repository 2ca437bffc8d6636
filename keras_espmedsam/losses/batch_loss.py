"""Base class of losses with one value for the whole batch."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.reduced_loss import ReducedLoss


class BatchLoss(ReducedLoss):
    """A loss whose `call` returns one value; it takes no weights per image or pixel.

    The value is returned as a vector, since Keras would sum scalars over the replicas of
    `tf.distribute`, not average them.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise InputError(
                f"{type(self).__name__} received a sample_weight, but has one value for the "
                "whole batch; leave the weights out or use a loss per image, such as "
                "DiceFocalLoss, which takes them per image and per pixel."
            )
        return super().__call__(y_true, y_pred)
