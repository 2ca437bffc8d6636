"""Metrics of an image's mask, as `--metric` of `espmedsam evaluate` and `evaluate` name them.

An entry is a function of the true and the predicted mask, both bool `(height, width)`, that gives
a number, or NaN where it is undefined: such images are left out of its mean, and counted.
"""

from keras_espmedsam.registries.registry import Registry

_MODULE = "keras_espmedsam.evaluation.metrics"

metrics = Registry(
    "metrics",
    "metric",
    {
        "dice": f"{_MODULE}:dice",
        "iou": f"{_MODULE}:iou",
        "precision": f"{_MODULE}:precision",
        "recall": f"{_MODULE}:recall",
        "hd95": f"{_MODULE}:hd95",
    },
)
