"""What losses of masks with one value per image have in common."""

from keras_espmedsam.losses.reduced_loss import ReducedLoss
from keras_espmedsam.losses.weights import per_pixel


class PixelLoss(ReducedLoss):
    """A loss with one value per image that honours a weight per image and a weight per pixel.

    With a weight per pixel the value of an image is that of its pixels of weight above 0, as if
    there were no others, times their mean weight. So a map of ones changes nothing, a map of a
    constant is the same as this weight of the image, and an image of which only a small part is
    labelled counts as much as any other.

    `call` then gets `(y_true, weights)` in place of `y_true`: Keras passes structures through,
    and goes on doing the reduction.

    Source: ours; leaving unlabelled pixels out of the mean is what Keras' masks do.
    """

    def __call__(self, y_true, y_pred, sample_weight=None):
        weights = per_pixel(self, sample_weight, y_pred)
        if weights is None:
            return super().__call__(y_true, y_pred, sample_weight)
        return super().__call__((y_true, weights), y_pred)
