"""What losses with one value for a whole batch have in common."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.reduced_loss import ReducedLoss


class BatchLoss(ReducedLoss):
    """A loss whose `call` gives one value; weights per image or pixel have no place in it.

    The value comes as a vector: scalars Keras would sum over the replicas of `tf.distribute`, and
    not average.

    Source: ours.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None:
            raise InputError(
                f"{type(self).__name__} received a sample_weight, but has one value for the "
                "whole batch; leave the weights out or use a loss per image, such as "
                "DiceFocalLoss, which takes them per image and per pixel."
            )
        return super().__call__(y_true, y_pred)
