"""Select the trainable parts of a segmenter by name."""

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.models.image_encoder import as_image_encoder, image_encoder_of
from keras_espmedsam.training.config.parts import PARTS


def select_trainable(segmenter, parts="all", modalities="all"):
    """Train some parts of a segmenter and freeze the others with their BatchNorm statistics.

    Call it before `compile`. Each call starts over; without arguments everything is trained.

    Args:
        segmenter: `ESPMedSAMImageSegmenter` or `ESPMedSAMBackbone`.
        parts: list of some of `"shared_encoder"` (the image encoder without the next two),
            `"controllers"`, `"adapters"` (the medical additions of `ViTMedBackbone`),
            `"prompt_generator"`, `"decoder"` (with its details and the networks and adapters of
            targets, without the queries) and `"queries"`; or `"all"`.
        modalities: list of modality names: of the weights that belong to one modality, such as
            controllers, only theirs are trained. Or `"all"`.

    Raises:
        InputError: for an unknown name, or if nothing would be trained.

    Example:
        >>> backbone = ESPMedSAMBackbone(
        ...     TinyViTBackbone(
        ...         hidden_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...         window_sizes=(4, 4, 4), neck_dim=16, num_modalities=6),
        ...     transformer_num_heads=2, transformer_mlp_dim=16)
        >>> kem.training.select_trainable(backbone, ["controllers"], ["fundus"])
        >>> {v.modality for v in backbone.trainable_variables}
        {3}

    Source: ESP-MedSAM (arXiv 2407.14153), whose phases train such parts.
    """
    backbone = getattr(segmenter, "backbone", segmenter)
    names = backbone.modalities
    parts = PARTS if parts == "all" else _checked(parts, PARTS, "part")
    chosen = names if modalities == "all" else _checked(modalities, names, "modality")
    # In models, freeze the layers one by one: Keras saves a model's own `trainable` in a preset.
    for part, layers in layers_of_parts(backbone):
        for layer in layers:
            # Set twice: on TensorFlow, setting an attribute to its current value does nothing,
            # even if parts of the layer differ.
            layer.trainable = part not in parts
            layer.trainable = part in parts
    for query in queries_of(backbone):
        query.trainable = "queries" in parts
    for variable in backbone.variables:
        # -1: no modality reads it.
        own = getattr(variable, "modality", None)
        if own is not None and (own < 0 or names[own] not in chosen):
            variable.trainable = False
    if not backbone.trainable_variables:
        raise InputError(
            f"Received the parts {', '.join(parts)} of the modalities {', '.join(chosen)}, of "
            "which this model has none; nothing would be trained."
        )


def layers_of_parts(model):
    """Return pairs of a part's name and its layers; a later part takes layers from an earlier one.

    Args:
        model: `ESPMedSAMBackbone`, or an image encoder alone, which has only the first three.
    """
    encoder = as_image_encoder(image_encoder_of(model))
    controllers = [
        layer for i in range(encoder.num_modalities) for layer in encoder.controller_layers(i)
    ]
    parts = [
        ("shared_encoder", encoder.layers),
        ("controllers", controllers),
        ("adapters", encoder.adapter_layers()),
    ]
    if hasattr(model, "mask_decoder"):
        parts += [
            ("prompt_generator", [model.prompt_generator]),
            ("decoder", [*model.decoding_layers()[1:]]),
        ]
    return parts


def queries_of(backbone):
    """Return the variables of all queries of an `ESPMedSAMBackbone`."""
    decoder = backbone.mask_decoder
    modalities = range(len(backbone.modalities))
    further = [layer.query for i in modalities for layer in decoder.target_layers(i)]
    return [decoder.queries, *(layer["query"] for layer in decoder.added_queries), *further]


def _checked(received, known, what):
    for name in received:
        if name not in known:
            raise InputError(
                f"Received the {what} {name!r}{did_you_mean(name, known)} This model knows "
                f"{', '.join(known)}."
            )
    return tuple(received)
