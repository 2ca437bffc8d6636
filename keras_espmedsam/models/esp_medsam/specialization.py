"""Rebuild a segmenter for other modalities or targets: only one modality, or one more of either."""

import keras
import numpy as np

from keras_espmedsam.layers import TargetQuery
from keras_espmedsam.models.image_encoder import as_image_encoder
from keras_espmedsam.models.lora import KERNELS, merged_values


def specialize(segmenter, index):
    """Return a segmenter with only the controller of modality `index`, weights copied.

    All queries of the original modalities stay: they attend to each other and the image attends
    to all of them, so dropping one would change the mask. An added query is seen only by its own
    modality, so only that one is kept.
    """
    backbone = segmenter.backbone
    query = backbone.query_indices[index]
    added = query >= backbone.num_queries
    name = backbone.modalities[index]
    adapters = backbone.target_adapters
    single = rebuilt(
        segmenter,
        modalities=(name,),
        query_indices=(backbone.num_queries if added else query,),
        num_added_queries=int(added),
        targets=backbone.target_set.only(name),
        target_adapters={name: adapters[name]} if name in adapters else {},
    )
    copy_modality(backbone, index, single.backbone, 0)
    converter = getattr(single.preprocessor, "image_converter", None)
    if getattr(converter, "image_sizes", None):
        # Its only images keep the size that they have in the larger model.
        converter.image_size = converter.for_modality(name).image_size
        converter.image_sizes = {}
    return single


def rebuilt(segmenter, targets, **changes):
    """Return a segmenter built alike but for some arguments, with copies of the shared weights.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        targets: `Targets` of the new one.
        **changes: other arguments of `ESPMedSAMBackbone`.
    """
    backbone = segmenter.backbone
    config = backbone.get_config()
    for name in ("targets", "exclusive", "nested", "instances"):
        config.pop(name, None)
    config.update(changes, **targets.config())
    if as_image_encoder(backbone.image_encoder).num_modalities:
        encoder = config["image_encoder"]
        config["image_encoder"] = {
            **encoder,
            "config": {**encoder["config"], "num_modalities": len(config["modalities"])},
        }
    new = type(backbone).from_config(config)
    copy_shared_weights(backbone, new)
    preprocessor = segmenter.preprocessor
    if preprocessor is not None:
        preprocessor = type(preprocessor).from_config(preprocessor.get_config())
        converter = preprocessor.image_converter
        sizes = getattr(converter, "image_sizes", None)
        if sizes:
            kept = {name: size for name, size in sizes.items() if name in new.modalities}
            converter.image_sizes = kept
    kept = {
        option: _of_targets(getattr(segmenter, option), targets)
        for option in ("postprocessing", "probability_calibration", "guarantees", "quality")
    }
    scope = {name: of for name, of in segmenter.scope.items() if name in targets.names}
    return type(segmenter)(backbone=new, preprocessor=preprocessor, scope=scope, **kept)


def _of_targets(options, targets):
    """Return those options of modalities and targets that the new segmenter still has."""
    return {
        modality: {name: one for name, one in of.items() if name in targets.of(modality)}
        for modality, of in options.items()
        if modality in targets.names
    }


def shared_weights(backbone):
    """Return the weights that modalities share, in an order independent of the modalities."""
    own = {
        id(weight)
        for modality in backbone.modalities
        for layer in (*backbone.controller_layers(modality), *backbone.added_layers(modality))
        for weight in layer.weights
    }
    return [weight for weight in backbone.weights if id(weight) not in own]


def copy_shared_weights(source, target):
    """Copy everything except controllers and added queries from one backbone to another."""
    _copy(
        shared_weights(source),
        shared_weights(target),
        merged_values(source),
        # The self-prompts have as many maps as the modality with the most targets needs.
        resize=source.self_prompt_targets == "each",
    )


def copy_modality(source, index, target, new_index):
    """Copy the controller of a modality, its query if it was added, and its further targets."""
    merged = merged_values(source)
    copy_layers(source.controller_layers(index), target.controller_layers(new_index), merged)
    old, new = (
        [layer for layer in model.added_layers(i) if not isinstance(layer, TargetQuery)]
        for model, i in ((source, index), (target, new_index))
    )
    copy_layers(old, new, merged)
    old, new = further_targets(source, index), further_targets(target, new_index)
    for name in old.keys() & new.keys():
        copy_layers([old[name]], [new[name]], merged)


def further_targets(backbone, index):
    """Return the `TargetQuery` of each channel of a modality after the first, by name."""
    names = backbone.target_set.channels(backbone.modalities[index])[1:]
    return dict(zip(names, backbone.mask_decoder.target_layers(index), strict=True))


def copy_layers(source, target, merged=None):
    """Copy the weights of a list of layers to another of the same kinds; `merged` by path."""
    for old, new in zip(source, target, strict=True):
        _copy(old.weights, new.weights, merged or {})


def _copy(source, target, merged, resize=False):
    source, target = ([w for w in weights if w.name not in KERNELS] for weights in (source, target))
    for old, new in zip(source, target, strict=True):
        # Through the host: on JAX, two variables that share an array would both be deleted when
        # training donates the buffers of one of them.
        value = np.array(keras.ops.convert_to_numpy(merged.get(old.path, old.value)))
        if resize and value.shape != tuple(new.shape):
            part = tuple(map(slice, np.minimum(value.shape, new.shape)))
            whole = np.array(keras.ops.convert_to_numpy(new.value))
            whole[part] = value[part]
            value = whole
        new.assign(value)
