"""Convert a MobileSAM checkpoint to an untrained ESP-MedSAM."""

import os

from keras_espmedsam.converters.matching import assign_tensors, ignored_messages
from keras_espmedsam.converters.names import SAM_UNUSED, decoder_entries, encoder_entries
from keras_espmedsam.converters.reader import read_checkpoint
from keras_espmedsam.converters.untrained_segmenter import published_segmenter
from keras_espmedsam.hub.write_preset import checked_output, write_preset

_PREFIX = "image_encoder."
IGNORED = {
    f"{_PREFIX}head.": "the ImageNet head, which the model does not use",
    f"{_PREFIX}norm_head.": "the ImageNet head, which the model does not use",
    **SAM_UNUSED,
}


def convert_mobilesam(path: str | os.PathLike, output: str | os.PathLike) -> list[str]:
    """Make a preset that starts ESP-MedSAM from a MobileSAM checkpoint.

    The image encoder, the decoder's two-way transformer, upscaling and positional encoding, and
    the hyper-network of SAM's single mask are MobileSAM's. The six controllers are initialised so
    that they change nothing (last adapter layers at zero, tokens closed): the embeddings of every
    modality are MobileSAM's. Queries and self-prompts are random and need training.

    Args:
        path: `.pt`, `.pth` or `.safetensors` file, such as `mobile_sam.pt`.
        output: folder for the preset; it does not exist yet or is empty.

    Returns:
        Messages: which tensors were ignored, what needs training, and what was written.

    Raises:
        InputError: if the file cannot be read or does not fit, or the output is not empty.

    Example, which needs MobileSAM's file::

        from keras_espmedsam.converters import convert_mobilesam

        messages = convert_mobilesam("mobile_sam.pt", "my_preset")
        print(*messages)

    Source: MobileSAM (arXiv 2306.14289), from which the release of ESP-MedSAM starts. Departs from
    the release: the controllers start closed.
    """
    from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

    output = checked_output(output)
    tensors = read_checkpoint(path)
    segmenter = published_segmenter(
        MODALITIES,
        tuple(range(len(MODALITIES))),
        normalization="imagenet",
        resize_mode="pad",
        adapter_zero_init=True,
    )
    encoder, decoder = segmenter.backbone.image_encoder, segmenter.backbone.mask_decoder
    entries = [*encoder_entries(encoder, _PREFIX), *decoder_entries(decoder)]
    ignored = assign_tensors(tensors, entries, IGNORED, f"The checkpoint {path}")
    for index in range(len(MODALITIES)):
        encoder.close_controller(index)
    return [
        *ignored_messages(ignored, IGNORED, path),
        "The self-prompts and the modality queries are random: train the model before use.",
        write_preset(segmenter, output),
    ]
