"""Losses of a segmenter's masks, as `loss` of a training phase and `losses.get` name them.

An entry is a class derived from `keras.losses.Loss`, made without arguments: true masks and logits
`(batch, height, width, 1)` in, see `keras_espmedsam.losses`. It is registered with Keras, too
(`keras.saving.register_keras_serializable`), so that what names it can be loaded again.
"""

from keras_espmedsam.registries.registry import Registry

_PACKAGE = "keras_espmedsam.losses"

losses = Registry(
    "losses",
    "loss",
    {
        "standard": f"{_PACKAGE}.dice_focal_loss:DiceFocalLoss",
        "published": f"{_PACKAGE}.dice_focal_loss:PublishedDiceFocalLoss",
        "DiceFocalLoss": f"{_PACKAGE}.dice_focal_loss:DiceFocalLoss",
        "DiceCELoss": f"{_PACKAGE}.dice_ce_loss:DiceCELoss",
        "DiceLoss": f"{_PACKAGE}.dice_loss:DiceLoss",
        "FocalLoss": f"{_PACKAGE}.focal_loss:FocalLoss",
        "TverskyLoss": f"{_PACKAGE}.tversky_loss:TverskyLoss",
        "FocalTverskyLoss": f"{_PACKAGE}.focal_tversky_loss:FocalTverskyLoss",
        "ClDiceLoss": f"{_PACKAGE}.cl_dice_loss:ClDiceLoss",
        "BoundaryLoss": f"{_PACKAGE}.boundary_loss:BoundaryLoss",
        "PublishedDiceFocalLoss": f"{_PACKAGE}.dice_focal_loss:PublishedDiceFocalLoss",
        "BatchDiceLoss": f"{_PACKAGE}.dice_loss:BatchDiceLoss",
        "MeanFocalLoss": f"{_PACKAGE}.focal_loss:MeanFocalLoss",
    },
)
