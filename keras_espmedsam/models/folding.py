"""Fold batch normalisation into the convolutions before it, for inference."""

import keras
import numpy as np

from keras_espmedsam.layers.conv_norm import BATCH_NORM_EPSILON, folded_norms
from keras_espmedsam.models.image_encoder import ImageEncoder, image_encoder_of
from keras_espmedsam.models.lora import KERNELS, merged_values


def fold(task):
    """Return a copy without batch normalisation and LoRA adapters; equal up to rounding.

    The normalisation of `ConvNorm` is folded, and what the image encoder's `folded` folds. LoRA
    adapters are merged into the weights.

    Args:
        task: `ESPMedSAMImageSegmenter` or `TiCImageClassifier`.

    Returns:
        The copy, not trainable, with its own weights.
    """
    encoder, config = image_encoder_of(task), task.get_config()
    own = encoder.folded() if isinstance(encoder, ImageEncoder) else None
    if own is not None:
        config["backbone"] = _with_encoder(task, config["backbone"], own)
    with folded_norms():
        folded = type(task).from_config(config)
    done = set() if own is None else _ids([*encoder.weights, *own.weights])
    _assign(
        [weight for weight in folded.weights if id(weight) not in done],
        [weight for weight in task.weights if id(weight) not in done],
        merged_values(task),
    )
    folded.trainable = False
    folded.is_folded = True
    return folded


def _with_encoder(task, config, encoder):
    """Return the configuration of a task's backbone with another image encoder in it."""
    if image_encoder_of(task) is task.backbone:
        return encoder
    return {**config, "config": {**config["config"], "image_encoder": encoder}}


def _ids(weights):
    return {id(weight) for weight in weights}


def copy_weights(model, other, parts):
    """Assign the weights of a model to another built alike, with LoRA adapters merged.

    Args:
        model: `keras.Model`.
        other: the other.
        parts: function from either to a list of layers; the weights of these are assigned.
    """
    _assign(*(_weights(parts(one)) for one in (other, model)), merged_values(model))


def _weights(layers):
    return [weight for layer in layers for weight in layer.weights]


def _assign(new_weights, weights, merged):
    """Assign weights to those of a model built alike, but within `folded_norms`.

    Args:
        new_weights, weights: lists of `keras.Variable`.
        merged: dict from `merged_values`.
    """
    weights = [weight for weight in weights if weight.name not in KERNELS]
    old = {weight.path: weight for weight in weights}

    def value(weight):
        return np.array(keras.ops.convert_to_numpy(merged.get(weight.path, weight.value)))

    blocks = {
        path.removesuffix("/conv/bias")
        for path in (weight.path for weight in new_weights)
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
    for new in new_weights:
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
