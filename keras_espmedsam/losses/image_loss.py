"""Base class of losses of features."""

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.reduced_loss import ReducedLoss
from keras_espmedsam.losses.weights import is_per_image


class ImageLoss(ReducedLoss):
    """A loss with one value per image, which takes weights per image but not per pixel."""

    def __call__(self, y_true, y_pred, sample_weight=None):
        if sample_weight is not None and not is_per_image(sample_weight, y_pred):
            raise InputError(
                f"{type(self).__name__} received a sample_weight of shape "
                f"{tuple(sample_weight.shape)}; expected one weight per image, (batch,)."
            )
        return super().__call__(y_true, y_pred, sample_weight)
