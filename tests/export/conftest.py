"""A small segmenter whose parts all matter."""

import numpy as np
import pytest

import keras_espmedsam as kem

NAMES = ("skin", "lung", "eye")


@pytest.fixture(scope="session")
def segmenter():
    encoder = kem.models.TinyViTBackbone(
        hidden_dims=(8, 8, 16, 16),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 2),
        window_sizes=(4, 4, 4),
        neck_dim=16,
        num_modalities=3,
        adapter_ratio=1,
    )
    backbone = kem.models.ESPMedSAMBackbone(
        encoder, NAMES, transformer_num_heads=2, transformer_mlp_dim=16, detail_dims=(4, 4, 4, 4)
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=(64, 64))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return _randomized(kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor))


@pytest.fixture(scope="session")
def classifier():
    backbone = kem.models.TiCBackbone(
        hidden_dims=(16, 16, 32, 32), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4), kernel_size=3
    )
    converter = kem.models.TiCImageConverter(image_size=(64, 64))
    preprocessor = kem.models.TiCImageClassifierPreprocessor(converter)
    return kem.models.TiCImageClassifier(
        backbone, preprocessor=preprocessor, class_names=("eye", "lung")
    )


def _randomized(model):
    rng = np.random.default_rng(1)
    for weight in model.weights:
        value = rng.normal(scale=0.2, size=weight.shape)
        name = weight.path.rsplit("/", 1)[-1]
        if "variance" in name or "gamma" in name:
            value = 1 + np.abs(value)
        weight.assign(value.astype("float32"))
    return model
