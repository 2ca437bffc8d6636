"""Every format of a segmenter whose encoder is keras-hub's, in its own runtime."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.export import get_format
from keras_espmedsam.registries import export_formats

# Blocks of which one is a graph of layers and one a layer, with zeros padded on one side alone.
EFFICIENTNET = {
    "class_name": "EfficientNetBackbone",
    "config": {
        "stackwise_width_coefficients": [1.0] * 3,
        "stackwise_depth_coefficients": [1.0] * 3,
        "stackwise_kernel_sizes": [3, 5, 3],
        "stackwise_num_repeats": [1] * 3,
        "stackwise_input_filters": [8] * 3,
        "stackwise_output_filters": [8] * 3,
        "stackwise_expansion_ratios": [1, 2, 2],
        "stackwise_squeeze_and_excite_ratios": [0.0] * 3,
        "stackwise_strides": [1, 2, 2],
        "stackwise_block_types": ["v1", "unfused", "unfused"],
        "include_stem_padding": False,
        "stem_conv_padding": "same",
        "activation": "relu6",
        "num_features": 12,
    },
}


@pytest.fixture(scope="module")
def with_keras_hub():
    encoder = kem.models.KerasHubImageEncoder(
        EFFICIENTNET, neck_dim=8, num_modalities=2, normalization=(127, 128)
    )
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        ("skin", "lung"),
        transformer_depth=1,
        transformer_num_heads=2,
        transformer_mlp_dim=16,
    )
    rng = np.random.default_rng(0)
    for weight in backbone.weights:
        value = rng.normal(scale=0.2, size=weight.shape)
        # Variances and scales are about 1.
        near_one = weight.path.endswith(("moving_variance", "gamma"))
        weight.assign(np.abs(1 + value) if near_one else value)
    converter = kem.models.ESPMedSAMImageConverter(image_size=(64, 64))
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)


@pytest.mark.parametrize(
    "name",
    [
        # Written by the same program as LiteRT and ONNX, which differ in their operators.
        pytest.param(name, marks=pytest.mark.slow_on("tensorflow"))
        if name in ("saved_model", "openvino")
        else name
        for name in export_formats
        if name != "web"  # ONNX in a folder.
    ],
)
@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="TensorFlow writes all formats")
def test_it_gives_what_keras_gives(with_keras_hub, name, tmp_path):
    chosen = get_format(name)
    size = "any" if chosen.any_size else None
    path = tmp_path / f"model{chosen.suffix}"
    description = with_keras_hub.export_for(name, path, size=size, modality="lung")
    # Compared in its runtime; more than 1e-4 is refused.
    assert description["difference"] < 1e-4
    assert np.isfinite(description["difference"])
