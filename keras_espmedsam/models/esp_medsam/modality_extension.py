"""Add a modality to a trained segmenter, and train only that one."""

import re

import keras
import numpy as np

from keras_espmedsam.data.targets import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.recognition import AUTO
from keras_espmedsam.models.esp_medsam.specialization import (
    copy_layers,
    copy_modality,
    further_targets,
    rebuilt,
)
from keras_espmedsam.models.image_encoder import as_image_encoder


def extend(segmenter, name, source, targets=None, **declared):
    """Return a copy of a segmenter with the modality `name` added.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        name: str.
        source: int or None. The modality whose controller and query the new ones are copied from.
            `None`: a controller that changes nothing and a random query.
        targets: names of its targets, or one name; `None` for one unnamed target. Each begins
            as the source's target of that name, if there is one, or else as its first.
        **declared: `exclusive`, `nested` and `instances` of the new targets, as for one modality.

    Returns:
        `ESPMedSAMImageSegmenter`.

    Raises:
        InputError: for a name that is taken or not allowed.

    Source: ESP-MedSAM (arXiv 2407.14153), modality transfer. Departs from the paper: other
    modalities do not see the new query.
    """
    _check_name(name, segmenter.modalities)
    old = segmenter.backbone
    modalities = (*old.modalities, name)
    given = {"targets": targets, **declared}
    known = old.target_set.config()
    known |= {key: {**known.get(key, {}), name: value} for key, value in given.items() if value}
    extended = rebuilt(
        segmenter,
        Targets.of_modalities(modalities, **known),
        modalities=modalities,
        query_indices=(*old.query_indices, old.num_queries + old.num_added_queries),
        num_added_queries=old.num_added_queries + 1,
    )
    new = extended.backbone
    for index in range(len(old.modalities)):
        copy_modality(old, index, new, index)
    if source is None:
        as_image_encoder(new.image_encoder).close_controller(len(old.modalities))
    else:
        copy_layers(old.controller_layers(source), new.controller_layers(name))
        _start_query_from(new.mask_decoder, source)
        start = further_targets(new, source)
        for target, layer in further_targets(new, len(old.modalities)).items():
            start_target(layer, new.mask_decoder, source, start.get(target))
    return extended


def train_only(backbone, owners):
    """Freeze everything except the weights of some modalities, or of some of their targets.

    Layers are frozen one by one, never a model as a whole: Keras saves the `trainable` of a model,
    so the preset would load frozen, a surprise.

    Args:
        backbone: `ESPMedSAMBackbone`.
        owners: dict of modality index to the channels whose weights are trained, or to `None` for
            all of the modality's own weights. `None` freezes nothing.
    """
    if owners is None:
        _set_trainable(backbone, True)
        return
    for layer in (*backbone.image_encoder.layers, *backbone.decoding_layers()):
        # Freezing a layer also keeps its BatchNorm statistics.
        _set_trainable(layer, False)
    for variable in backbone.variables:
        modality = getattr(variable, "modality", None)
        if modality in owners:
            channels = owners[modality]
            if channels is None or getattr(variable, "target", None) in channels:
                variable.trainable = True


def _set_trainable(layer, value):
    # Set twice: on TensorFlow, setting an attribute to its current value does nothing, even if
    # parts of the layer differ.
    layer.trainable = not value
    layer.trainable = value


def first_query(decoder, modality):
    """Return the value of a modality's first query, and its hyper-network if not shared."""
    query = decoder.query_indices[modality]
    if query < decoder.num_queries:
        value = keras.ops.convert_to_numpy(decoder.queries)[query]
        return value, [] if decoder.shared_hypernetwork else [decoder.hypernetworks[query]]
    i = query - decoder.num_queries
    value = keras.ops.convert_to_numpy(decoder.added_queries[i]["query"])
    return value, decoder.added_hypernetworks[i : i + 1]


def _start_query_from(decoder, source):
    """Copy the query, and its network, of modality `source` to the last added query."""
    value, networks = first_query(decoder, source)
    decoder.added_queries[-1]["query"].assign(value)
    copy_layers(networks, decoder.added_hypernetworks[-1:] if networks else [])


def start_target(layer, decoder, source, start=None):
    """Begin a further target as another one, so that its mask is the same at first.

    Args:
        layer: its `TargetQuery`.
        decoder: `QueryDecoupledModalityDecoder`.
        source: int. The modality of the other target.
        start: `TargetQuery` of the other target; `None` for that modality's first.
    """
    if start is not None:
        layer.query.assign(np.array(keras.ops.convert_to_numpy(start.query)))
        copy_layers([start.hypernetwork], [layer.hypernetwork])
        if layer.adapter_dim and layer.adapter_dim == start.adapter_dim:
            copy_layers([start], [layer])
        return
    value, networks = first_query(decoder, source)
    layer.query.assign(value)
    copy_layers(networks or decoder.hypernetworks[:1], [layer.hypernetwork])


def _check_name(name, known):
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(
            f"Received {name!r} as the name of a new modality; expected letters, digits, - and _, "
            "beginning with a letter, such as 'fetal_ultrasound'."
        )
    if name == AUTO:
        raise InputError(
            f"Received {AUTO!r} as the name of a new modality, but this word asks for recognition "
            "of the modality; give another name."
        )
    if name in known:
        raise InputError(
            f"Received {name!r} as the name of a new modality, which this model has already (it "
            f"knows {', '.join(known)}); give another name."
        )
