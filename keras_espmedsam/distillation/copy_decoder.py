"""Copy the medical teacher's decoder, self-prompts and queries to the student."""

import itertools

import numpy as np

from keras_espmedsam.errors import InputError


def copy_decoder(teacher, student):
    """Copy prompt generator, mask decoder, details and queries from teacher to student.

    A student that has learnt the teacher's embeddings then decodes them as the teacher does. The
    targets of a modality are matched by name, see `MatchedTargets`: each that both have is copied,
    and one that the teacher lacks stays as it is.

    Args:
        teacher, student: `ESPMedSAMImageSegmenter` or `ESPMedSAMBackbone` of the same modalities,
            embedding width and output stride. The first target of each modality must be the same,
            as the queries of the others read that of the first.

    Raises:
        InputError: if the two do not fit; nothing is copied then.

    Example:
        >>> def small():
        ...     return ESPMedSAMBackbone(
        ...         TinyViTBackbone(
        ...             hidden_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2),
        ...             window_sizes=(4, 4, 4), neck_dim=16, num_modalities=6),
        ...         transformer_num_heads=2, transformer_mlp_dim=16)
        >>> teacher, student = small(), small()
        >>> copy_decoder(teacher, student)
        >>> old, new = (m.mask_decoder.queries for m in (teacher, student))
        >>> bool(keras.ops.all(old == new))
        True

    Source: ESP-MedSAM (arXiv 2407.14153), phase 3.
    """
    # Imported here, so that the package can be imported without Keras. This function has the name
    # of its module, so it cannot be loaded lazily.
    from keras import ops

    teacher, student = (getattr(model, "backbone", model) for model in (teacher, student))
    if teacher.modalities != student.modalities:
        raise InputError(
            f"Received a teacher of {', '.join(teacher.modalities)} and a student of "
            f"{', '.join(student.modalities)}; expected the same modalities in the same order."
        )
    pairs = []
    layers = itertools.zip_longest(teacher.decoding_layers(), student.decoding_layers())
    for layers_of_both in layers:
        old, new = ([] if layer is None else _shared(layer) for layer in layers_of_both)
        shapes = [[tuple(weight.shape) for weight in weights] for weights in (old, new)]
        if shapes[0] != shapes[1]:
            part = next(layer.name for layer in layers_of_both if layer is not None)
            raise InputError(
                f"The {part} of the teacher does not fit that of the student; expected embeddings "
                "of one width and one output stride, and decoders of one configuration."
            )
        pairs += zip(old, new, strict=True)
    pairs += _pairs_of_targets(teacher, student)
    for old, new in pairs:
        # Through the host: on JAX, two variables of one array would be donated together.
        new.assign(np.array(ops.convert_to_numpy(old.value)))


def _shared(layer):
    """Return a layer's weights without those of single targets."""
    return [weight for weight in layer.weights if not hasattr(weight, "target")]


def _pairs_of_targets(teacher, student):
    """Return pairs of the weights of targets that teacher and student both have, by name."""
    from keras_espmedsam.distillation.matched_targets import matched_channels

    pairs = []
    for index, modality in enumerate(student.modalities):
        names = student.target_set.channels(modality)
        matched = matched_channels(student.target_set, teacher.target_set, modality)
        theirs = teacher.target_set.channels(modality)
        if matched[0] != 0:
            raise InputError(
                f"The first target of {modality} is {theirs[0]} in the teacher and {names[0]} in "
                "the student; a decoder is copied with the queries that all targets read, so give "
                "both the same first target, or do not copy the decoder (copy_decoder: false)."
            )
        each = "each" in (teacher.self_prompt_targets, student.self_prompt_targets)
        if each and (matched != list(range(len(theirs)))):
            raise InputError(
                f"The teacher has self-prompts for each of {', '.join(theirs)} of {modality}, and "
                f"the student has {', '.join(names)}; expected the same targets in the same order, "
                "or self_prompt_targets='union' in both."
            )
        old = teacher.mask_decoder.target_layers(index)
        new = student.mask_decoder.target_layers(index)
        for layer, source in zip(new, matched[1:], strict=True):
            if source < 1:
                continue
            start = old[source - 1]
            shapes = [[tuple(w.shape) for w in one.weights] for one in (start, layer)]
            if shapes[0] != shapes[1]:
                raise InputError(
                    f"The target {theirs[source]} of {modality} does not fit that of the student; "
                    "expected embeddings of one width, and adapters of one width "
                    f"(target_adapters), not {start.adapter_dim} and {layer.adapter_dim}."
                )
            pairs += zip(start.weights, layer.weights, strict=True)
    return pairs
