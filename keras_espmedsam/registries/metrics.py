"""Metrics of an image's mask, as `--metric` of `espmedsam evaluate` and `evaluate` name them.

An entry is a function of the true and the predicted mask, both bool `(height, width)`, that gives
a number, or NaN where it is undefined: such images are left out of its mean, and counted. It is
given `spacing` (height and width of a pixel in mm, or None where the file does not say) and
`tolerance` (of the target: a distance such as `"2px"`) if it has keyword-only parameters of these
names.
"""

from keras_espmedsam.registries.registry import Registry

_PACKAGE = "keras_espmedsam.evaluation"
_MODULE = f"{_PACKAGE}.metrics"

metrics = Registry(
    "metrics",
    "metric",
    {
        "dice": f"{_MODULE}:dice",
        "iou": f"{_MODULE}:iou",
        "precision": f"{_MODULE}:precision",
        "recall": f"{_MODULE}:recall",
        "hd95": f"{_MODULE}:hd95",
        "nsd": f"{_PACKAGE}.surface_dice:nsd",
        "cldice": f"{_PACKAGE}.cldice:cldice",
    },
)
