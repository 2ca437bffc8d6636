"""Give a trained segmenter one more modality, and train that one alone."""

import re

import keras

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.recognition import AUTO
from keras_espmedsam.models.esp_medsam.specialization import (
    copy_layers,
    copy_modality,
    with_modalities,
)
from keras_espmedsam.models.image_encoder import as_image_encoder


def extend(segmenter, name, source):
    """A segmenter with the modality `name` added, all other weights copied.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        name: str.
        source: int or None. The modality whose controller and query the new one starts from;
            `None` is a controller that changes nothing and a random query.

    Returns:
        `ESPMedSAMImageSegmenter`.

    Raises:
        InputError: for a name that is taken or cannot be one.

    Source: modality transfer: ESP-MedSAM (arXiv 2407.14153); the hidden query is ours.
    """
    _check_name(name, segmenter.modalities)
    old = segmenter.backbone
    extended = with_modalities(
        segmenter,
        modalities=(*old.modalities, name),
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
    return extended


def train_only(backbone, index):
    """Freeze all but what carries the mark of modality `index`; with `None` nothing is frozen.

    Layers are frozen one by one and no model as a whole: Keras saves the `trainable` of a model,
    and a preset that came back frozen would be a surprise.
    """
    if index is None:
        _set_trainable(backbone, True)
        return
    for layer in (*backbone.image_encoder.layers, *backbone.decoding_layers()):
        # Frozen layers also keep their BatchNorm statistics.
        _set_trainable(layer, False)
    for variable in backbone.variables:
        if getattr(variable, "modality", None) == index:
            variable.trainable = True


def _set_trainable(layer, value):
    # Twice, since on TensorFlow an attribute that is set to what it is does nothing at all, even
    # where parts of the layer differ.
    layer.trainable = not value
    layer.trainable = value


def _start_query_from(decoder, source):
    """The last added query, and its network, from those of modality `source`."""
    query = decoder.query_indices[source]
    if query < decoder.num_queries:
        value = keras.ops.convert_to_numpy(decoder.queries)[query]
        networks = decoder.hypernetworks[query : query + 1]
    else:
        layer, *networks = decoder.added_layers(source)
        value = keras.ops.convert_to_numpy(layer["query"])
    added, *own = decoder.added_layers(len(decoder.query_indices) - 1)
    added["query"].assign(value)
    copy_layers(networks if own else [], own)


def _check_name(name, known):
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name):
        raise InputError(
            f"Received {name!r} as the name of a new modality; expected letters, digits, - and _, "
            "beginning with a letter, such as 'fetal_ultrasound'."
        )
    if name == AUTO:
        raise InputError(
            f"Received {AUTO!r} as the name of a new modality, which asks for recognition where a "
            "modality is expected; give another name."
        )
    if name in known:
        raise InputError(
            f"Received {name!r} as the name of a new modality, which this model has already (it "
            f"knows {', '.join(known)}); give another name."
        )
