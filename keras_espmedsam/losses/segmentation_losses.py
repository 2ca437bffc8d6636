"""The losses of a segmenter's two outputs, by name."""

from keras_espmedsam import registries
from keras_espmedsam.losses.named_loss import named_loss
from keras_espmedsam.losses.patch_loss import PatchLoss


def get(identifier):
    """The losses of a segmenter's masks and patches.

    Args:
        identifier: `"standard"` (`DiceFocalLoss` of the masks: Dice per image, focal per pixel),
            `"published"` (`PublishedDiceFocalLoss`: both over the whole batch, as the authors'
            code has them), or another name of `keras_espmedsam.registries.losses`, to which other
            packages add; a dict of such a `name` and arguments of its class; or a
            `keras.losses.Loss` of masks.

    Returns:
        dict of `keras.losses.Loss`: `masks`, and `patches` (`PatchLoss`).

    Raises:
        InputError: for an unknown name, or arguments that the loss cannot work with.

    Example:
        >>> losses = kem.losses.get("published")
        >>> losses["masks"].name, losses["patches"].name
        ('published_dice_focal_loss', 'patch_loss')
        >>> kem.losses.get({"name": "FocalLoss", "gamma": 1.0})["masks"].gamma
        1.0

    Source: ESP-MedSAM (arXiv 2407.14153); the names are ours.
    """
    masks = named_loss(registries.losses, identifier, shape=(2, 4, 4, 1))
    return {"masks": masks, "patches": PatchLoss()}
