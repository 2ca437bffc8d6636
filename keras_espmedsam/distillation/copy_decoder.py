"""The medical teacher's decoder, self-prompts and queries for the student."""

import itertools

import numpy as np

from keras_espmedsam.errors import InputError


def copy_decoder(teacher, student):
    """Copy prompt generator, mask decoder, its details and queries from teacher to student.

    The student's embeddings, once they are the teacher's, are decoded as the teacher's are.

    Args:
        teacher, student: `ESPMedSAMImageSegmenter` or `ESPMedSAMBackbone` of the same modalities,
            embedding width and output stride.

    Raises:
        InputError: when the two do not fit; nothing has been copied then.

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
    # Imported here, so that the package is imported without Keras: this function has its module's
    # name, which a lazily loaded one could not have.
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
        old, new = ([] if layer is None else layer.weights for layer in layers_of_both)
        shapes = [[tuple(weight.shape) for weight in weights] for weights in (old, new)]
        if shapes[0] != shapes[1]:
            part = next(layer.name for layer in layers_of_both if layer is not None)
            raise InputError(
                f"The {part} of the teacher does not fit that of the student; expected embeddings "
                "of one width and one output stride, and decoders of one configuration."
            )
        pairs += zip(old, new, strict=True)
    for old, new in pairs:
        # Through the host: on JAX two variables of one array would be donated together.
        new.assign(np.array(ops.convert_to_numpy(old.value)))
