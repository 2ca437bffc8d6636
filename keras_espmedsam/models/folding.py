"""Fold batch normalisation into the convolutions before it, for inference."""

import keras
import numpy as np

from keras_espmedsam.layers.conv_norm import BATCH_NORM_EPSILON, folded_norms
from keras_espmedsam.models.lora import KERNELS, merged_values


def fold(task):
    """Return a copy without batch normalisation and LoRA adapters; equal up to rounding.

    Only the normalisation of `ConvNorm` is folded, which is all that the encoders of this package
    have; an encoder of keras-hub keeps its own. LoRA adapters are merged into the weights.

    Args:
        task: `ESPMedSAMImageSegmenter` or `TiCImageClassifier`.

    Returns:
        The copy, not trainable, with its own weights.
    """
    with folded_norms():
        folded = type(task).from_config(task.get_config())
    merged = merged_values(task)
    weights = [weight for weight in task.weights if weight.name not in KERNELS]
    old = {weight.path: weight for weight in weights}

    def value(weight):
        return np.array(keras.ops.convert_to_numpy(merged.get(weight.path, weight.value)))

    blocks = {
        path.removesuffix("/conv/bias")
        for path in (weight.path for weight in folded.weights)
        if path.endswith("/conv/bias") and path not in old
    }
    norms = {
        block: [
            value(old[f"{block}/norm/{part}"])
            for part in ("gamma", "beta", "moving_mean", "moving_variance")
        ]
        for block in blocks
    }
    # By order, not by path: Keras renumbers the names of unnamed layers.
    kept = (weight for weight in weights if weight.path.rpartition("/norm/")[0] not in blocks)
    for new in folded.weights:
        block, _, name = new.path.rpartition("/conv/")
        if block not in blocks:
            new.assign(value(next(kept)))
            continue
        gamma, beta, mean, variance = norms[block]
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        if name == "bias":
            new.assign(beta - mean * scale)
            continue
        kernel = value(next(kept))
        # A depthwise kernel's channel axis is the second to last.
        new.assign(kernel * (scale[:, None] if kernel.shape[-1] != len(scale) else scale))
    folded.trainable = False
    folded.is_folded = True
    return folded
