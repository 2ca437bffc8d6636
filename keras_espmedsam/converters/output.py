"""Building the published configuration and writing it as a preset that is whole or not there."""

import os
import shutil
import tempfile
from pathlib import Path

from keras_espmedsam.errors import InputError

IMAGE_SIZE = (1024, 1024)


def checked_output(output):
    """The output folder as a path, refused where something would be lost.

    Args:
        output: str or path. A folder that does not exist yet or is empty.

    Returns:
        `pathlib.Path`.

    Raises:
        InputError: when it is a file, or a folder that holds something.

    Example:
        >>> checked_output(tempfile.mkdtemp()).is_dir()
        True

    Source: ours.
    """
    output = Path(output)
    if output.is_dir():
        if any(output.iterdir()):
            raise InputError(
                f"The output folder {output} is not empty and nothing is overwritten; give "
                "another, or empty it."
            )
    elif output.exists():
        raise InputError(f"The output {output} is a file; give a folder for the preset.")
    return output


def published_segmenter(
    modalities, query_indices, normalization, resize_mode, adapter_zero_init=False
):
    """The published configuration (TinyViT-5M, 1024 x 1024, seven queries), weights random.

    Args:
        modalities: tuple of str. Names of the controllers.
        query_indices: tuple of int. The query of each.
        normalization, resize_mode: see `ESPMedSAMImageConverter`.
        adapter_zero_init: bool. See `ModalityAdapter`.

    Returns:
        `ESPMedSAMImageSegmenter`.

    Source: ESP-MedSAM (arXiv 2407.14153), released code.
    """
    from keras_espmedsam.models import TinyViTBackbone

    encoder = TinyViTBackbone(num_modalities=len(modalities), adapter_zero_init=adapter_zero_init)
    return assembled_segmenter(
        encoder, modalities, query_indices, IMAGE_SIZE, normalization, resize_mode
    )


def assembled_segmenter(
    encoder, modalities, query_indices, image_size, normalization, resize_mode, **decoder
):
    """An image encoder with ESP-MedSAM's self-prompts and decoder, weights random.

    Args:
        encoder: image encoder, see `ESPMedSAMBackbone`.
        modalities: tuple of str.
        query_indices: tuple of int. The query of each, among as many as the release has.
        image_size: (height, width) to which images are brought.
        normalization, resize_mode: see `ESPMedSAMImageConverter`.
        **decoder: see `ESPMedSAMBackbone`.

    Returns:
        `ESPMedSAMImageSegmenter`.

    Source: ESP-MedSAM (arXiv 2407.14153), released code.
    """
    from keras_espmedsam.models import (
        ESPMedSAMBackbone,
        ESPMedSAMImageConverter,
        ESPMedSAMImageSegmenter,
        ESPMedSAMImageSegmenterPreprocessor,
    )
    from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

    backbone = ESPMedSAMBackbone(
        encoder,
        modalities=modalities,
        num_queries=len(MODALITIES) + 1,
        query_indices=query_indices,
        **decoder,
    )
    converter = ESPMedSAMImageConverter(
        image_size=image_size, resize_mode=resize_mode, normalization=normalization
    )
    return ESPMedSAMImageSegmenter(backbone, ESPMedSAMImageSegmenterPreprocessor(converter))


def write_preset(segmenter, output):
    """Save a preset to a temporary folder beside `output` and rename it when it is complete.

    Args:
        segmenter: `ESPMedSAMImageSegmenter`.
        output: `pathlib.Path`, as `checked_output` gives it.

    Returns:
        str. A sentence that says what was written.

    Raises:
        InputError: when the folder cannot be written.

    Source: ours.
    """
    temporary = None
    megabytes = 4 * segmenter.count_params() / 1e6
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=output.parent))
        segmenter.save_to_preset(str(temporary))
        # mkdtemp makes folders that only their owner can enter; give what mkdir() would give.
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        if output.is_dir():
            output.rmdir()  # Empty: checked_output() saw to it, and rmdir() refuses otherwise.
        os.replace(temporary, output)
    except OSError as error:
        raise InputError(
            f"The preset cannot be written to {output} ({error.strerror or error}); give a folder "
            f"that can be written, on a disk with {1.1 * megabytes:.0f} MB free."
        ) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return (
        f"Wrote the preset {output}: {', '.join(segmenter.modalities)}; "
        f"{segmenter.backbone.count_params():,} parameters."
    )


def ignored_messages(ignored, reasons, path):
    """Sentences that say which tensors were not used, and why.

    Args:
        ignored: dict of prefix to number of tensors, as `assign_tensors` gives it.
        reasons: dict of prefix to what its tensors are.
        path: the checkpoint.

    Returns:
        List of str.

    Example:
        >>> ignored_messages({"old.": 2}, {"old.": "an older head"}, "a.pt")
        ['Ignored old.* of a.pt (tensors: 2): an older head.']

    Source: ours.
    """
    return [
        f"Ignored {prefix}* of {path} (tensors: {count}): {reasons[prefix]}."
        for prefix, count in ignored.items()
    ]
