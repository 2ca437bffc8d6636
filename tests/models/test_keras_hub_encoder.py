import keras
import keras_hub
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.models import KerasHubImageEncoder
from keras_espmedsam.training.build_segmenter import build_segmenter, checkpoint_gradients
from keras_espmedsam.training.config.model_settings import ModelSettings
from keras_espmedsam.training.trainable_parts import select_trainable
from tests.models.image_encoder_contract import ImageEncoderContract

DENSENET = {
    "class_name": "DenseNetBackbone",
    "config": {"stackwise_num_repeats": [1, 1, 1], "compression_ratio": 0.5, "growth_rate": 4},
}
STAGES = 5
EFFICIENTNET = {
    "class_name": "EfficientNetBackbone",
    "config": {
        "stackwise_width_coefficients": [1.0] * STAGES,
        "stackwise_depth_coefficients": [1.0] * STAGES,
        "stackwise_kernel_sizes": [3] * STAGES,
        "stackwise_num_repeats": [1] * STAGES,
        "stackwise_input_filters": [8] * STAGES,
        "stackwise_output_filters": [8] * STAGES,
        "stackwise_expansion_ratios": [1] * STAGES,
        "stackwise_squeeze_and_excite_ratios": [0.25] * STAGES,
        "stackwise_strides": [1, 2, 2, 2, 2],
        "stackwise_block_types": ["v1"] * STAGES,
        "stackwise_force_input_filters": [0] * STAGES,
        "stackwise_nores_option": [False] * STAGES,
        "num_features": 24,
    },
}
MIT = {
    "class_name": "MiTBackbone",
    "config": {
        "layerwise_depths": [1, 1],
        "num_layers": 2,
        "layerwise_num_heads": [1, 1],
        "layerwise_sr_ratios": [1, 1],
        "max_drop_path_rate": 0.0,
        "layerwise_patch_sizes": [7, 3],
        "layerwise_strides": [4, 2],
        "hidden_dims": [8, 8],
        "image_shape": (64, 64, 3),
    },
}


class TestKerasHub(ImageEncoderContract):
    def make(self, **kwargs):
        return KerasHubImageEncoder(
            DENSENET, neck_dim=16, neck_levels=("P4", "P3"), output_stride=16, **kwargs
        )


@pytest.mark.parametrize(
    ("backbone", "levels"),
    [
        (EFFICIENTNET, {"P1": 2, "P2": 4, "P3": 8, "P4": 16, "P5": 32}),
        # Its names are not those of keras-hub's others; what counts is how large the maps are.
        (MIT, {"P1": 4, "P2": 8}),
    ],
    ids=["EfficientNet", "MiT"],
)
def test_other_backbones_are_saved_with_all_that_they_are(build, tmp_path, backbone, levels):
    encoder = build.randomize(KerasHubImageEncoder(backbone, neck_dim=8, output_stride=8))
    assert {name: level.stride for name, level in encoder.levels.items()} == {
        **levels,
        "embedding": 8,
    }
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")
    expected = build.run(encoder, images)
    assert expected.shape == (1, 8, 8, 8)
    encoder.save(tmp_path / "encoder.keras")
    again = keras.saving.load_model(tmp_path / "encoder.keras")
    np.testing.assert_array_equal(build.run(again, images), expected)


def test_levels_beyond_the_neck_are_left_out():
    first = KerasHubImageEncoder(DENSENET, neck_dim=8, neck_levels=("P2", "P3"))
    assert list(first.levels) == ["P2", "P3", "embedding"]
    assert first.output_stride == 8
    bare = KerasHubImageEncoder(DENSENET, neck_dim=None)
    assert bare.levels["embedding"] == bare.levels["P4"]
    assert first.pyramid.count_params() < bare.pyramid.count_params()


def test_the_embedding_is_the_neck_of_the_backbones_own_levels(build):
    backbone = keras_hub.models.DenseNetBackbone(**DENSENET["config"])
    encoder = build.randomize(KerasHubImageEncoder(backbone, neck_dim=8, neck_levels=("P3", "P4")))
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    found = build.run(keras.Model(backbone.input, dict(backbone.pyramid_outputs)), images)
    neck = encoder.neck([found["P3"], found["P4"]])
    np.testing.assert_allclose(build.run(encoder, images), build.array(neck), atol=1e-5)


def test_a_preset_of_keras_hub_is_taken_with_its_weights(build, tmp_path):
    backbone = build.randomize(keras_hub.models.DenseNetBackbone(**DENSENET["config"]))
    backbone.save_to_preset(tmp_path)
    own = {weight.path: build.array(weight) for weight in backbone.weights}
    encoder = KerasHubImageEncoder(preset=str(tmp_path), neck_dim=8, dtype="bfloat16")
    assert encoder.pyramid.get_layer("conv1_conv").compute_dtype == "bfloat16"
    for weight in encoder.pyramid.weights:
        value = np.asarray(build.array(weight), "float32")
        np.testing.assert_allclose(value, own[weight.path], rtol=1e-2)
    again = KerasHubImageEncoder.from_config(encoder.get_config())
    assert "preset" not in encoder.get_config()
    assert [w.shape for w in again.weights] == [w.shape for w in encoder.weights]
    empty = KerasHubImageEncoder(preset=str(tmp_path), load_weights=False, neck_dim=8)
    kernel = build.array(empty.pyramid.get_layer("conv1_conv").kernel)
    assert np.abs(kernel - own["conv1_conv/kernel"]).max() > 0.01


def test_the_images_size_is_the_backbones_or_asked_for():
    assert KerasHubImageEncoder(MIT, neck_dim=8).fixed_size == (64, 64)
    assert KerasHubImageEncoder(MIT, neck_dim=8, image_shape=(96, 96, 3)).fixed_size == (96, 96)
    assert KerasHubImageEncoder(DENSENET, neck_dim=8).fixed_size is None
    encoder = KerasHubImageEncoder(DENSENET, neck_dim=8, image_shape=(32, 64, 3))
    assert encoder.output.shape == (None, 2, 4, 8)
    made = keras_hub.models.MiTBackbone(**MIT["config"])
    with pytest.raises(InputError, match=r"was built for images of \(64, 64, 3\)"):
        KerasHubImageEncoder(made, image_shape=(96, 96, 3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "received neither"),
        ({"backbone": DENSENET, "preset": "densenet_121_imagenet"}, "received both"),
        ({"backbone": {"class_name": "DenseNetBakbone"}}, "did you mean DenseNetBackbone"),
        ({"backbone": {"class_name": "DenseNetBackbone", "config": {"growth": 1}}}, "be built"),
        ({"backbone": "densenet"}, "Received a backbone of type str"),
        ({"backbone": DENSENET, "neck_levels": ("P9",)}, "'P9' of DenseNetBackbone; expected one"),
        ({"backbone": DENSENET, "neck_dim": None, "output_stride": 8}, "without a neck"),
        ({"preset": "./no_such_folder"}, "cannot be loaded"),
    ],
)
def test_what_cannot_be_an_encoder_is_refused_in_a_sentence(arguments, words):
    with pytest.raises(ValueError, match=words):
        KerasHubImageEncoder(**arguments)


def test_maps_that_are_no_maps_or_do_not_divide_the_image_are_refused():
    sequence = keras_hub.models.ViTDetBackbone(
        hidden_size=16, num_layers=1, intermediate_dim=16, num_heads=2,
        global_attention_layer_indices=[0], image_shape=(64, 64, 3), patch_size=16,
        num_output_channels=16, window_size=2,
    )  # fmt: skip
    with pytest.raises(InputError, match="which has no pyramid of feature maps"):
        KerasHubImageEncoder(sequence)
    unpadded = {
        "class_name": "CSPNetBackbone",
        "config": {
            "stem_filters": 8, "stem_kernel_size": 3, "stem_strides": 1, "stackwise_depth": [1],
            "stackwise_strides": [2], "stackwise_num_filters": [8], "stage_type": "dark",
            "block_type": "dark_block",
        },
    }  # fmt: skip
    with pytest.raises(InputError, match="'P2' of 'csp_net_backbone' has the shape"):
        KerasHubImageEncoder(unpadded)


def test_a_configuration_names_it():
    encoder = {"kind": "keras_hub", "backbone": DENSENET, "neck_dim": 16, "neck_levels": ["P3"]}
    settings = ModelSettings(
        encoder=encoder,
        modalities=["xray", "fundus"],
        decoder={"transformer_num_heads": 2, "transformer_mlp_dim": 16},
    )
    backbone = build_segmenter(settings, precision="mixed_bfloat16").backbone
    encoder = backbone.image_encoder
    assert encoder.levels["embedding"] == (8, 16)
    assert encoder.pyramid.get_layer("conv1_conv").compute_dtype == "bfloat16"
    assert backbone.controller_layers("xray") == []
    select_trainable(backbone, ["decoder"])
    assert encoder.trainable_variables == []
    with pytest.raises(InputError, match="Received gradient_checkpointing for KerasHub"):
        checkpoint_gradients(encoder)
