"""Batch normalisation folded into the convolutions before it, for inference."""

import keras
import numpy as np

from keras_espmedsam.layers.conv_norm import BATCH_NORM_EPSILON, folded_norms


def fold(task):
    """A copy of a task without batch normalisation, that gives the same to rounding.

    Args:
        task: `ESPMedSAMImageSegmenter` or `TiCImageClassifier`.

    Returns:
        The copy, not trainable, with weights of its own.

    Source: common practice in inference; ours.
    """
    with folded_norms():
        folded = type(task).from_config(task.get_config())
    old = {variable.path: variable for variable in task.variables}
    for variable in folded.weights:
        variable.assign(_folded_value(variable.path, old))
    folded.trainable = False
    folded.is_folded = True
    return folded


def _folded_value(path, old):
    """The value of a weight of the folded model, of the weights of the other by path."""
    layer, _, name = path.rpartition("/")
    block, _, kind = layer.rpartition("/")
    if kind != "conv" or f"{block}/norm/moving_variance" not in old:
        return _value(old, path)
    gamma, beta, mean, variance = (
        _value(old, f"{block}/norm/{part}")
        for part in ("gamma", "beta", "moving_mean", "moving_variance")
    )
    scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
    if name == "bias":
        return beta - mean * scale
    kernel = _value(old, path)
    # A depthwise kernel has its channels before the last axis.
    return kernel * (scale[:, None] if kernel.shape[-1] != len(scale) else scale)


def _value(old, path):
    return np.array(keras.ops.convert_to_numpy(old[path].value))
