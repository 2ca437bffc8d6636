"""The losses of a segmenter's two outputs, by name."""

from keras_espmedsam import registries
from keras_espmedsam.losses.named_loss import named_loss
from keras_espmedsam.losses.patch_loss import PatchLoss
from keras_espmedsam.losses.per_target_loss import PerTargetLoss


def get(identifier, num_channels=1, groups=()):
    """Return the losses of a segmenter's masks and patches.

    Args:
        identifier: `"standard"` (`DiceFocalLoss` of the masks: Dice per image, focal per pixel),
            `"published"` (`PublishedDiceFocalLoss`: both over the whole batch, as in the authors'
            code), or another name of `keras_espmedsam.registries.losses`, to which other packages
            can add; a dict of such a `name` and arguments of its class; or a `keras.losses.Loss`
            of masks.
        num_channels: int. Channels of the model's masks. If there are several, the loss is
            computed for each target that is labelled, see `PerTargetLoss`.
        groups: the channels' exclusive groups, see `PerTargetLoss`.

    Returns:
        dict of `keras.losses.Loss`: `masks`, and `patches` (`PatchLoss`).

    Raises:
        InputError: for an unknown name, arguments that the loss cannot work with, and a loss of
            the whole batch for several channels.

    Example:
        >>> losses = kem.losses.get("published")
        >>> losses["masks"].name, losses["patches"].name
        ('published_dice_focal_loss', 'patch_loss')
        >>> kem.losses.get({"name": "FocalLoss", "gamma": 1.0})["masks"].gamma
        1.0
        >>> type(kem.losses.get("standard", num_channels=3)["masks"]).__name__
        'PerTargetLoss'

    Source: ESP-MedSAM (arXiv 2407.14153).
    """
    masks = named_loss(registries.losses, identifier, shape=(2, 4, 4, 1))
    if num_channels > 1 and not isinstance(masks, PerTargetLoss):
        masks = PerTargetLoss(masks, groups=groups)
    return {"masks": masks, "patches": PatchLoss()}
