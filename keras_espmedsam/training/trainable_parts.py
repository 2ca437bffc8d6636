"""Which parts of a segmenter are trained, by their names."""

from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.models.image_encoder import as_image_encoder
from keras_espmedsam.training.config.parts import PARTS


def select_trainable(segmenter, parts="all", modalities="all"):
    """Train some parts of a segmenter and freeze the others, their BatchNorm statistics too.

    Call it before `compile`. Every call begins anew; without arguments all is trained.

    Args:
        segmenter: `ESPMedSAMImageSegmenter` or `ESPMedSAMBackbone`.
        parts: list of some of `"shared_encoder"` (the image encoder without what follows),
            `"controllers"`, `"adapters"` (the medical additions of `ViTMedBackbone`),
            `"prompt_generator"`, `"decoder"` (with its details, without the queries) and
            `"queries"`; or `"all"`.
        modalities: list of names of modalities: of what belongs to one, as controllers do, these
            are trained alone. Or `"all"`.

    Raises:
        InputError: for an unknown name, or where nothing is left to train.

    Example:
        >>> backbone = ESPMedSAMBackbone(
        ...     TinyViTBackbone(
        ...         hidden_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...         window_sizes=(4, 4, 4), neck_dim=16, num_modalities=6),
        ...     transformer_num_heads=2, transformer_mlp_dim=16)
        >>> kem.training.select_trainable(backbone, ["controllers"], ["fundus"])
        >>> {v.modality for v in backbone.trainable_variables}
        {3}

    Source: ours; the phases of ESP-MedSAM (arXiv 2407.14153) train such parts.
    """
    backbone = getattr(segmenter, "backbone", segmenter)
    encoder, decoder = backbone.image_encoder, backbone.mask_decoder
    names = backbone.modalities
    parts = PARTS if parts == "all" else _checked(parts, PARTS, "part")
    chosen = names if modalities == "all" else _checked(modalities, names, "modality")
    controllers = [layer for i in range(len(names)) for layer in backbone.controller_layers(i)]
    adapters = as_image_encoder(encoder).adapter_layers()
    # Of models, the layers one by one: Keras saves a model's own `trainable` in a preset.
    for layers, part in (
        (encoder.layers, "shared_encoder"),
        (controllers, "controllers"),
        (adapters, "adapters"),
        ([backbone.prompt_generator], "prompt_generator"),
        ([*backbone.decoding_layers()[1:]], "decoder"),
    ):
        for layer in layers:
            # Twice, since on TensorFlow an attribute that is set to what it is does nothing at
            # all, even where parts of the layer differ.
            layer.trainable = part not in parts
            layer.trainable = part in parts
    for query in (decoder.queries, *(layer["query"] for layer in decoder.added_queries)):
        query.trainable = "queries" in parts
    for variable in backbone.variables:
        # -1: what no modality reads.
        own = getattr(variable, "modality", None)
        if own is not None and (own < 0 or names[own] not in chosen):
            variable.trainable = False
    if not backbone.trainable_variables:
        raise InputError(
            f"Received the parts {', '.join(parts)} of the modalities {', '.join(chosen)}, of "
            "which this model has none; nothing would be trained."
        )


def _checked(received, known, what):
    for name in received:
        if name not in known:
            raise InputError(
                f"Received the {what} {name!r}{did_you_mean(name, known)} This model knows "
                f"{', '.join(known)}."
            )
    return tuple(received)
