"""Base class of losses of masks with one value per image."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.reduced_loss import ReducedLoss
from keras_espmedsam.losses.weights import per_pixel


class PixelLoss(ReducedLoss):
    """A loss with one value per image that takes weights per image or per pixel.

    With weights per pixel, the value of an image is that of its pixels of weight above 0, as if
    there were no others, times their mean weight. So a map of ones changes nothing, a constant map
    equals the same weight of the image, and an image that is labelled only in part counts as much
    as any other.

    `call` then gets `(y_true, weights)` instead of `y_true`, since Keras passes structures through
    and still does the reduction.

    A loss of one target refuses several: computed over all channels as one, it would take the
    unlabelled for background, and large targets would outweigh small ones.

    Source: Keras' masks, which also leave unlabelled pixels out of the mean.
    """

    takes_several_targets = False

    def __call__(self, y_true, y_pred, sample_weight=None):
        channels = y_pred.shape[-1] if len(y_pred.shape) == 4 else 1
        if not self.takes_several_targets and channels not in (1, None):
            name = type(self).__name__
            raise InputError(
                f"{name} is a loss of one target, and received masks of {channels} channels; use "
                f"PerTargetLoss({name}())."
            )
        weights = per_pixel(self, sample_weight, y_pred)
        if weights is None:
            return super().__call__(y_true, y_pred, sample_weight)
        return super().__call__((y_true, weights), y_pred)
