"""The losses of a segmenter's two outputs, by name."""

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses.dice_focal_loss import DiceFocalLoss, PublishedDiceFocalLoss
from keras_espmedsam.losses.dice_loss import BatchDiceLoss, DiceLoss
from keras_espmedsam.losses.focal_loss import FocalLoss, MeanFocalLoss
from keras_espmedsam.losses.patch_loss import PatchLoss

_MASK_LOSSES = {
    "standard": DiceFocalLoss,
    "published": PublishedDiceFocalLoss,
    **{
        loss.__name__: loss
        for loss in (
            DiceFocalLoss,
            DiceLoss,
            FocalLoss,
            PublishedDiceFocalLoss,
            BatchDiceLoss,
            MeanFocalLoss,
        )
    },
}


def get(identifier):
    """The losses of a segmenter's masks and patches.

    Args:
        identifier: `"standard"` (`DiceFocalLoss` of the masks: Dice per image, focal per pixel),
            `"published"` (`PublishedDiceFocalLoss`: both over the whole batch, as the authors'
            code has them), the name of another loss of masks, or a `keras.losses.Loss` of masks.

    Returns:
        dict of `keras.losses.Loss`: `masks`, and `patches` (`PatchLoss`).

    Raises:
        InputError: for an unknown name.

    Example:
        >>> losses = kem.losses.get("published")
        >>> losses["masks"].name, losses["patches"].name
        ('published_dice_focal_loss', 'patch_loss')

    Source: ESP-MedSAM (arXiv 2407.14153); the names are ours.
    """
    if isinstance(identifier, keras.losses.Loss):
        return {"masks": identifier, "patches": PatchLoss()}
    if not isinstance(identifier, str) or identifier not in _MASK_LOSSES:
        raise InputError(
            f"Received loss={identifier!r}; expected one of {', '.join(_MASK_LOSSES)}, or a "
            "keras.losses.Loss of the masks."
        )
    return {"masks": _MASK_LOSSES[identifier](), "patches": PatchLoss()}
