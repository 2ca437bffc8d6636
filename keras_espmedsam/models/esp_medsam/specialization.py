"""Reduce a universal model to one modality."""

import keras
import numpy as np


def specialize(segmenter, index):
    """A segmenter with the controller of modality `index` alone, weights copied.

    All queries stay: they attend to each other and the image attends to all of them, so that
    dropping one would change the mask.
    """
    backbone = segmenter.backbone
    config = backbone.get_config()
    config["modalities"] = (backbone.modalities[index],)
    config["query_indices"] = (backbone.query_indices[index],)
    encoder = config["image_encoder"]
    if encoder["config"].get("num_modalities", 0):
        config["image_encoder"] = {
            **encoder,
            "config": {**encoder["config"], "num_modalities": 1},
        }
    single = type(backbone).from_config(config)
    copy_shared_weights(backbone, single)
    for source, target in zip(
        backbone.controller_layers(index), single.controller_layers(0), strict=True
    ):
        for old, new in zip(source.weights, target.weights, strict=True):
            new.assign(_copied(old))
    preprocessor = segmenter.preprocessor
    if preprocessor is not None:
        preprocessor = type(preprocessor).from_config(preprocessor.get_config())
    return type(segmenter)(backbone=single, preprocessor=preprocessor)


def shared_weights(backbone):
    """All weights of a backbone but its controllers', in an order that does not depend on them."""
    controllers = {
        id(weight)
        for modality in backbone.modalities
        for layer in backbone.controller_layers(modality)
        for weight in layer.weights
    }
    return [weight for weight in backbone.weights if id(weight) not in controllers]


def copy_shared_weights(source, target):
    """Copy everything but the controllers from one backbone to another of the same shape."""
    for old, new in zip(shared_weights(source), shared_weights(target), strict=True):
        new.assign(_copied(old))


def _copied(weight):
    # Through the host: on JAX two variables given one array would be deleted together when
    # training donates the buffers of one of them.
    return np.array(keras.ops.convert_to_numpy(weight.value))
