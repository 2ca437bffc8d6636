"""The losses of labelled images in distillation."""

from keras_espmedsam.distillation.mask_loss import MASKS
from keras_espmedsam.losses import DiceFocalLoss, PatchLoss
from keras_espmedsam.losses.segmentation_losses import get as segmentation_losses


def losses_of_labels(given, channels, groups):
    """Return the losses of masks and patches, that of several targets by target.

    Args:
        given: dict of `keras.losses.Loss` for `masks` and `patches`; `None` is the segmenter's own.
        channels: int, the student's channels.
        groups: the channels' exclusive groups; see `PerTargetLoss`.

    Returns:
        dict of `keras.losses.Loss`.
    """
    losses = given or {"masks": DiceFocalLoss(), "patches": PatchLoss()}
    if channels > 1 and MASKS in losses:
        of_targets = segmentation_losses(losses[MASKS], channels, groups)
        losses = {**losses, MASKS: of_targets[MASKS]}
    return losses
