"""Segmenters of the published configurations with random weights, to load checkpoints into."""

IMAGE_SIZE = (1024, 1024)


def published_segmenter(
    modalities, query_indices, normalization, resize_mode, adapter_zero_init=False
):
    """Build the published configuration (TinyViT-5M, 1024 x 1024, seven queries), untrained.

    Args:
        modalities: tuple of str. Names of the controllers.
        query_indices: tuple of int. The query of each modality.
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
    """Combine an image encoder with ESP-MedSAM's self-prompts and decoder, untrained.

    Args:
        encoder: image encoder, see `ESPMedSAMBackbone`.
        modalities: tuple of str.
        query_indices: tuple of int. The query of each modality, out of the release's.
        image_size: (height, width) to which images are resized.
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
