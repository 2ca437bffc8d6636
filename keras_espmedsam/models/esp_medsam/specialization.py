"""Rebuild a segmenter for other modalities: one of them alone, or one more."""

import keras
import numpy as np

from keras_espmedsam.models.image_encoder import as_image_encoder
from keras_espmedsam.models.lora import KERNELS, merged_values


def specialize(segmenter, index):
    """A segmenter with the controller of modality `index` alone, weights copied.

    The queries of the first modalities all stay: they attend to each other and the image attends
    to all of them, so that dropping one would change the mask. Of the added ones only the
    modality's own is seen, hence kept.
    """
    backbone = segmenter.backbone
    query = backbone.query_indices[index]
    added = query >= backbone.num_queries
    single = with_modalities(
        segmenter,
        modalities=(backbone.modalities[index],),
        query_indices=(backbone.num_queries if added else query,),
        num_added_queries=int(added),
    )
    copy_modality(backbone, index, single.backbone, 0)
    return single


def with_modalities(segmenter, modalities, query_indices, num_added_queries):
    """A segmenter of other modalities with copies of the shared weights; the rest is as built."""
    backbone = segmenter.backbone
    config = backbone.get_config()
    config["modalities"] = modalities
    config["query_indices"] = query_indices
    config["num_added_queries"] = num_added_queries
    if as_image_encoder(backbone.image_encoder).num_modalities:
        encoder = config["image_encoder"]
        config["image_encoder"] = {
            **encoder,
            "config": {**encoder["config"], "num_modalities": len(modalities)},
        }
    rebuilt = type(backbone).from_config(config)
    copy_shared_weights(backbone, rebuilt)
    preprocessor = segmenter.preprocessor
    if preprocessor is not None:
        preprocessor = type(preprocessor).from_config(preprocessor.get_config())
    return type(segmenter)(backbone=rebuilt, preprocessor=preprocessor)


def shared_weights(backbone):
    """All weights of a backbone but those of one modality alone, in an order free of them."""
    own = {
        id(weight)
        for modality in backbone.modalities
        for layer in (*backbone.controller_layers(modality), *backbone.added_layers(modality))
        for weight in layer.weights
    }
    return [weight for weight in backbone.weights if id(weight) not in own]


def copy_shared_weights(source, target):
    """Copy everything but the controllers and the added queries from one backbone to another."""
    _copy(shared_weights(source), shared_weights(target), merged_values(source))


def copy_modality(source, index, target, new_index):
    """Copy the controller and the added query of a modality; those of a first one have none."""
    for old, new in (
        (source.controller_layers(index), target.controller_layers(new_index)),
        (source.added_layers(index), target.added_layers(new_index)),
    ):
        copy_layers(old, new, merged_values(source))


def copy_layers(source, target, merged=None):
    """Copy the weights of a list of layers to another of the same kinds; `merged` by path."""
    for old, new in zip(source, target, strict=True):
        _copy(old.weights, new.weights, merged or {})


def _copy(source, target, merged):
    source, target = ([w for w in weights if w.name not in KERNELS] for weights in (source, target))
    for old, new in zip(source, target, strict=True):
        # Through the host: on JAX two variables given one array would be deleted together when
        # training donates the buffers of one of them.
        value = merged.get(old.path, old.value)
        new.assign(np.array(keras.ops.convert_to_numpy(value)))
