"""A segmenter of some ten thousand weights, which every backend builds and compiles quickly."""

import keras_espmedsam as kem


def small_segmenter(modalities, postprocessing=None, **options):
    """A segmenter of two levels for images of 64 x 64.

    Args:
        modalities: their names.
        postprocessing: of the segmenter.
        options: of its `ESPMedSAMBackbone`, such as `targets`.
    """
    encoder = kem.models.TinyViTBackbone(
        hidden_dims=(8, 8),
        depths=(1, 1),
        num_heads=(2,),
        window_sizes=(4,),
        strides=(2,),
        neck_dim=16,
        num_modalities=len(modalities),
    )
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        modalities,
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=16,
        **options,
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=(64, 64))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor, postprocessing)
