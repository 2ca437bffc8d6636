"""Convert released ESP-MedSAM checkpoints to presets of one or several modalities."""

import os
from collections.abc import Sequence

from keras_espmedsam.converters.matching import (
    assign_checked,
    check_tensors,
    differing_tensors,
    ignored_messages,
    listed,
)
from keras_espmedsam.converters.names import (
    controller_entries,
    decoder_entries,
    encoder_entries,
    prompt_entries,
)
from keras_espmedsam.converters.reader import read_checkpoint
from keras_espmedsam.converters.untrained_segmenter import published_segmenter
from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.write_preset import checked_output, write_preset

_PREFIX = "SemiTViT."
IGNORED = {
    "image_encoder.": "the teacher of a training checkpoint",
    f"{_PREFIX}head.": "the ImageNet head, which the model does not use",
    f"{_PREFIX}norm_head.": "the ImageNet head, which the model does not use",
    "prompt_encoder.": "SAM's prompt encoder, of which the model uses only the Fourier matrix",
}


def convert_espmedsam(
    paths: Sequence[str | os.PathLike],
    modalities: Sequence[str],
    output: str | os.PathLike,
    resize_mode: str = "stretch",
) -> list[str]:
    """Make a preset from released ESP-MedSAM checkpoints.

    A released checkpoint holds one controller. One file gives a model of one modality, with all
    seven queries, of which it uses its own. Several files are merged into one universal model if
    everything except their controllers is identical, bit for bit. Modalities are stored in the
    release's order, whatever the order of the files.

    Args:
        paths: `.pth`, `.pt` or `.safetensors` files.
        modalities: the modality of each file, in the same order: names of the release
            (dermoscopy, xray, ultrasound, fundus, microscopy, colonoscopy), each once.
        output: folder for the preset; it does not exist yet or is empty.
        resize_mode: `"stretch"` or `"pad"`, how the preset resizes images to 1024 x 1024. The
            release read images that had that size on disk; how they were resized is unpublished.

    Returns:
        Messages: which tensors were ignored, and what was written.

    Raises:
        InputError: if a file cannot be read or does not fit, shared parts differ (the tensors are
            named), a modality is unknown or the output is not empty.

    Example, which needs the released files::

        from keras_espmedsam.converters import convert_espmedsam

        messages = convert_espmedsam(
            ["derm.pth", "drive.pth"], ["dermoscopy", "fundus"], "my_preset"
        )
        print(*messages)

    Source: ESP-MedSAM (arXiv 2407.14153), released code.
    """
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    modalities = [modalities] if isinstance(modalities, str) else list(modalities)
    query_indices = _queries(paths, modalities)
    if resize_mode not in ("stretch", "pad"):
        raise InputError(f"Received resize_mode={resize_mode!r}; expected 'stretch' or 'pad'.")
    output = checked_output(output)
    # Before building the model, which takes seconds, so that a bad file is reported at once. Only
    # the first file is kept: training checkpoints hold their teacher, and six may fill the memory.
    first = read_checkpoint(paths[0])
    for path in paths[1:]:
        read_checkpoint(path)

    names = sorted(modalities, key=query_indices.get)
    segmenter = published_segmenter(
        tuple(names),
        tuple(query_indices[name] for name in names),
        normalization="released",
        resize_mode=resize_mode,
    )
    backbone = segmenter.backbone
    shared = [
        *encoder_entries(backbone.image_encoder, _PREFIX),
        *decoder_entries(backbone.mask_decoder),
        *prompt_entries(backbone),
    ]
    messages = []
    for number, (path, modality) in enumerate(zip(paths, modalities, strict=True)):
        own = controller_entries(backbone.image_encoder, _PREFIX, names.index(modality))
        tensors = read_checkpoint(path) if number else first
        ignored = check_tensors(tensors, [*shared, *own], IGNORED, f"The checkpoint {path}")
        messages += ignored_messages(ignored, IGNORED, path)
        if number == 0:
            assign_checked(tensors, shared)
        else:
            differing = differing_tensors(first, tensors, [entry.name for entry in shared])
            if differing:
                raise InputError(
                    f"The checkpoints {paths[0]} and {path} cannot be merged, because "
                    f"{len(differing)} of their {len(shared)} shared tensors differ: "
                    f"{listed(differing)}; convert each into a preset of its own."
                )
        assign_checked(tensors, own)
    return [*messages, write_preset(segmenter, output)]


def _queries(paths, modalities):
    """Return each modality's released query, after checking that files and names pair up."""
    from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

    if not paths or len(paths) != len(modalities):
        raise InputError(
            f"Received {len(paths)} checkpoints and {len(modalities)} modalities; give one "
            "modality per checkpoint, in the same order."
        )
    for name in modalities:
        if name not in MODALITIES:
            raise InputError(
                f"Unknown modality {name!r}; the release knows {', '.join(MODALITIES)}."
            )
        if modalities.count(name) > 1:
            raise InputError(f"Received the modality {name!r} more than once; give each once.")
    return {name: MODALITIES.index(name) for name in modalities}
