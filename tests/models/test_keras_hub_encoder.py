import json
import pathlib
import shutil

import keras
import keras_hub
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.hub.origins import read_origins
from keras_espmedsam.models import ESPMedSAMImageConverter, KerasHubImageEncoder
from keras_espmedsam.training.build_segmenter import build_segmenter, checkpoint_gradients
from keras_espmedsam.training.config.model_settings import ModelSettings
from keras_espmedsam.training.run.begun_from import begun_from
from keras_espmedsam.training.trainable_parts import select_trainable
from tests.models.image_encoder_contract import Features, ImageEncoderContract

DENSENET = {
    "class_name": "DenseNetBackbone",
    "config": {"stackwise_num_repeats": [1, 1, 1], "compression_ratio": 0.5, "growth_rate": 4},
}


def efficientnet(strides):
    """The configuration of a small EfficientNet with one block of each stride."""
    stages = len(strides)
    config = {
        "stackwise_width_coefficients": [1.0] * stages,
        "stackwise_depth_coefficients": [1.0] * stages,
        "stackwise_kernel_sizes": [3] * stages,
        "stackwise_num_repeats": [1] * stages,
        "stackwise_input_filters": [8] * stages,
        "stackwise_output_filters": [8] * stages,
        "stackwise_expansion_ratios": [1] * stages,
        "stackwise_squeeze_and_excite_ratios": [0.25] * stages,
        "stackwise_strides": strides,
        "stackwise_block_types": ["v1"] * stages,
        "stackwise_force_input_filters": [0] * stages,
        "stackwise_nores_option": [False] * stages,
        "num_features": 24,
    }
    return {"class_name": "EfficientNetBackbone", "config": config}


EFFICIENTNET = efficientnet([1, 2, 2, 2, 2])
SHALLOW = efficientnet([1, 2, 2])
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


def layer_named(encoder, name):
    """Return a layer of the backbone."""
    return next(one for stage in encoder.stages for one in stage.layers if one.name == name)


# Each network is compiled anew; other encoders meet the same contract on JAX.
@pytest.mark.slow_on("jax")
class TestKerasHub(ImageEncoderContract):
    holds_controllers = True

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
@pytest.mark.slow_on("jax")
def test_other_backbones_are_saved_with_all_that_they_are(build, tmp_path, backbone, levels):
    encoder = build.randomize(KerasHubImageEncoder(backbone, neck_dim=8, output_stride=8))
    assert encoder.neck_levels == tuple(name for name in levels if levels[name] >= 8)
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


@pytest.mark.slow_on("jax", "tensorflow")
def test_levels_beyond_the_neck_are_left_out():
    first = KerasHubImageEncoder(DENSENET, neck_dim=8, neck_levels=("P2", "P3"))
    assert list(first.levels) == ["P2", "P3", "embedding"]
    assert first.output_stride == 8
    bare = KerasHubImageEncoder(DENSENET, neck_dim=None)
    assert bare.levels["embedding"] == bare.levels["P4"]
    assert first.stages[0].count_params() < bare.stages[0].count_params()


def test_the_embedding_is_the_neck_of_the_backbones_own_levels(build):
    backbone = keras_hub.models.DenseNetBackbone(**DENSENET["config"])
    encoder = build.randomize(KerasHubImageEncoder(backbone, neck_dim=8, neck_levels=("P3", "P4")))
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    found = build.run(keras.Model(backbone.input, dict(backbone.pyramid_outputs)), images)
    neck = encoder.neck([found["P3"], found["P4"]])
    np.testing.assert_allclose(build.run(encoder, images), build.array(neck), atol=1e-5)


@pytest.fixture(scope="module")
def preset(build, tmp_path_factory):
    """A preset of keras-hub whose images are normalised in a way of their own, and its backbone."""
    backbone = build.randomize(keras_hub.models.EfficientNetBackbone(**SHALLOW["config"]))
    folder = tmp_path_factory.mktemp("preset")
    backbone.save_to_preset(folder)
    converter = keras_hub.layers.EfficientNetImageConverter(
        scale=1 / 128, offset=[-127 / 128] * 3, image_size=(64, 64)
    )
    converter.save_to_preset(folder)
    # keras-hub 0.32 leaves it out.
    config = json.loads((folder / "config.json").read_text())
    config["config"]["num_features"] = SHALLOW["config"]["num_features"]
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder), backbone


@pytest.mark.slow_on("jax")
def test_a_preset_of_keras_hub_is_taken_with_its_weights(build, preset):
    folder, backbone = preset
    own = {weight.path: build.array(weight) for weight in backbone.weights}
    encoder = KerasHubImageEncoder(preset=folder, neck_dim=8, dtype="bfloat16")
    assert layer_named(encoder, "stem_conv").compute_dtype == "bfloat16"
    for weight in encoder.stages[0].weights:
        value = np.asarray(build.array(weight), "float32")
        np.testing.assert_allclose(value, own[weight.path], rtol=1e-2)
    (origin,) = encoder.origins
    assert origin[:2] == ("image encoder", pathlib.Path(folder).name) and len(origin.sha256) == 64
    again = KerasHubImageEncoder.from_config(json.loads(json.dumps(encoder.get_config())))
    assert again.origins == encoder.origins
    assert "preset" not in encoder.get_config()
    assert [w.shape for w in again.weights] == [w.shape for w in encoder.weights]
    empty = KerasHubImageEncoder(preset=folder, load_weights=False, neck_dim=8)
    assert empty.origins == () and "origins" not in empty.get_config()
    kernel = build.array(layer_named(empty, "stem_conv").kernel)
    assert np.abs(kernel - own["stem_conv/kernel"]).max() > 0.01


def test_a_pretrained_encoder_starts_as_the_backbone_it_is_begun_from(build, preset):
    folder, backbone = preset
    encoder = KerasHubImageEncoder(preset=folder, neck_dim=None, num_modalities=3)
    assert list(encoder.adapters) == ["P3"]
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3)).astype("uint8")
    images = ESPMedSAMImageConverter()(pixels)
    found = build.run(encoder, {"images": images, "modalities": np.array([0, 2], "int32")})
    expected = build.run(backbone, (pixels.astype("float32") - 127) / 128)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * scale)


def test_a_preset_has_to_say_how_images_are_normalised_or_be_told(preset, tmp_path):
    silent = tmp_path / "silent"
    shutil.copytree(preset[0], silent)
    (silent / "image_converter.json").unlink()
    with pytest.raises(InputError, match="does not say how its images are normalised; give"):
        KerasHubImageEncoder(preset=str(silent), neck_dim=8)
    told = KerasHubImageEncoder(preset=str(silent), neck_dim=8, normalization="imagenet")
    assert told.rescaling is None


@pytest.mark.slow_on("jax", "tensorflow")
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
        ({"backbone": DENSENET, "neck_levels": ()}, "expected some of P2, P3"),
        ({"backbone": DENSENET, "num_modalities": 2, "controller_levels": ["p3"]}, "one of P2, P3"),
        ({"preset": "./no_such_folder"}, "cannot be loaded"),
        ({"backbone": DENSENET, "origins": ["ResNet"]}, "Received 'ResNet' for origins"),
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
    with pytest.raises(InputError, match=r"'P2' of 'csp_net_backbone.*' has the shape"):
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
    assert layer_named(encoder, "conv1_conv").compute_dtype == "bfloat16"
    select_trainable(backbone, ["decoder"])
    assert encoder.trainable_variables == []
    select_trainable(backbone, ["controllers"], ["fundus"])
    assert {variable.modality for variable in backbone.trainable_variables} == {1}
    select_trainable(backbone, ["shared_encoder"])
    shared = {w.path for w in encoder.weights if not hasattr(w, "modality")}
    assert {variable.path for variable in encoder.trainable_variables} < shared
    with pytest.raises(InputError, match="Received gradient_checkpointing for KerasHub"):
        checkpoint_gradients(encoder)


def test_a_preset_is_an_encoder_in_one_line_of_a_configuration(preset, tmp_path):
    settings = ModelSettings(
        encoder={"preset": preset[0]}, modalities=["xray", "fundus"], controllers=False
    )
    assert settings.encoder.kind == "keras_hub"
    segmenter = build_segmenter(settings, image_size=(64, 64))
    encoder = segmenter.backbone.image_encoder
    assert encoder.levels["embedding"] == (8, 256) and encoder.num_modalities == 0
    assert list(encoder.origins) == begun_from(settings)
    segmenter.save_to_preset(tmp_path / "mine")
    assert read_origins(tmp_path / "mine") == list(encoder.origins)
    assert "origins.json" in (tmp_path / "mine" / "SHA256SUMS").read_text()
    assert (tmp_path / "mine" / "README.md").is_file()
    with pytest.raises(InputError, match="leave it out, or give encoder"):
        build_segmenter(settings.model_copy(update={"normalization": "released"}))


@pytest.mark.slow_on("jax", "tensorflow")
def test_a_backbone_of_one_size_is_built_for_the_phases():
    encoder = {"kind": "keras_hub", "backbone": MIT, "neck_dim": 8}
    settings = ModelSettings(
        encoder=encoder,
        modalities=["xray"],
        decoder={"transformer_num_heads": 2, "transformer_mlp_dim": 16},
    )
    segmenter = build_segmenter(settings, image_size=(96, 96))
    assert segmenter.backbone.image_encoder.fixed_size == (96, 96)


# === Controllers ===


def test_a_controller_changes_the_levels_that_come_after(build):
    encoder = build.randomize(
        KerasHubImageEncoder(DENSENET, num_modalities=2, neck_dim=8, controller_levels=("P3",))
    )
    assert [stage.name for stage in encoder.stages] == ["stage_0", "stage_1"]
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    levels = [
        build.run(Features(encoder), {"images": images, "modalities": np.array([k], "int32")})
        for k in (0, 1)
    ]
    np.testing.assert_array_equal(levels[0]["P2"], levels[1]["P2"])
    # By hand: the level of the backbone, the adapter's sum, and the rest of the backbone.
    shared = build.run(Features(encoder, controllers=False), images)
    adapted = shared["P3"] + build.array(encoder.adapters["P3"](shared["P3"], np.array([1])))
    scale = np.abs(adapted).max()
    np.testing.assert_allclose(levels[1]["P3"], adapted, rtol=0, atol=1e-5 * scale)
    rest = build.array(encoder.stages[1](adapted)["P4"])
    np.testing.assert_allclose(levels[1]["P4"], rest, rtol=0, atol=1e-5 * np.abs(rest).max())
    assert np.abs(levels[0]["P4"] - levels[1]["P4"]).max() > 1e-3


@pytest.mark.slow_on("jax", "tensorflow")
def test_widths_of_the_adapters_follow_their_levels():
    def widths(**kwargs):
        encoder = KerasHubImageEncoder(
            DENSENET, num_modalities=2, neck_dim=8, controller_levels=("P2", "P4"), **kwargs
        )
        again = KerasHubImageEncoder.from_config(json.loads(json.dumps(encoder.get_config())))
        found = [[a.hidden_dim for a in one.adapters.values()] for one in (encoder, again)]
        assert found[0] == found[1]
        return found[0]

    # The levels have 68 and 23 channels.
    assert widths() == [17, 5]
    assert widths(adapter_ratio=2) == [136, 46]
    assert widths(adapter_ratio=(0.5, 1)) == [34, 23]
    with pytest.raises(InputError, match="3 values of adapter_ratio for 2 levels"):
        widths(adapter_ratio=(1, 1, 1))
    with pytest.raises(InputError, match="adapter_ratio='wide'; expected a number above 0"):
        widths(adapter_ratio="wide")
    wide = {**EFFICIENTNET["config"], "num_features": 320}
    encoder = KerasHubImageEncoder(
        {**EFFICIENTNET, "config": wide}, num_modalities=2, neck_dim=8, controller_levels="P5"
    )
    assert encoder.adapters["P5"].hidden_dim == 64


@pytest.mark.slow_on("jax", "tensorflow")
def test_levels_that_nothing_is_computed_from_count_in_the_neck_alone(build):
    resnet = keras_hub.models.ResNetBackbone(
        [64], [3], [64] * 4, [1] * 4, [1, 2, 2, 2], "basic_block"
    )
    retina = keras_hub.models.RetinaNetBackbone(resnet, min_level=3, max_level=5, use_p5=False)
    encoder = KerasHubImageEncoder(retina, num_modalities=2, neck_dim=8)
    assert list(encoder.adapters) == ["P3", "P4", "P5"] and len(encoder.stages) == 1
    one = KerasHubImageEncoder(retina, num_modalities=2, neck_dim=8, neck_levels=("P5",))
    assert list(one.adapters) == ["P5"]
    with pytest.raises(InputError, match="with P3 of RetinaNetBackbone, from which alone no later"):
        KerasHubImageEncoder(
            retina, num_modalities=2, neck_levels=("P5",), controller_levels=("P3", "P5")
        )


@pytest.mark.slow_on("jax")
def test_levels_and_controllers_add_up_at_half_precision(build):
    """Sums within keras-hub's blocks are in the precision of Keras, not of the encoder."""
    config = {**SHALLOW["config"], "stackwise_block_types": ["unfused"] * 3}
    unfused = {**SHALLOW, "config": {**config, "stackwise_num_repeats": [1, 2, 1]}}
    options = {"neck_dim": 8, "num_modalities": 2, "controller_levels": ("P2", "P3")}
    encoder = build.randomize(KerasHubImageEncoder(unfused, **options))
    half = KerasHubImageEncoder(unfused, **options, dtype="mixed_float16")
    half.set_weights(encoder.get_weights())
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    inputs = {"images": images, "modalities": np.array([1], "int32")}
    expected = build.run(Features(encoder), inputs)
    found = half.features(*map(keras.ops.convert_to_tensor, inputs.values()), training=False)
    for name, value in expected.items():
        scale = np.abs(value).max()
        np.testing.assert_allclose(
            build.array(found[name]).astype("float32"), value, rtol=0, atol=0.02 * scale
        )


# === In use ===


def small_segmenter(build, **kwargs):
    """A segmenter with controllers and a rescaling, weights other than 0 in all of them."""
    encoder = KerasHubImageEncoder(
        SHALLOW, neck_dim=8, num_modalities=3, normalization=(127, 128), **kwargs
    )
    backbone = build.backbone(encoder, transformer_depth=1)
    return build.randomize(build.segmenter(backbone, image_size=(64, 64)))


@pytest.mark.slow_on("jax", "tensorflow")
def test_training_a_modality_leaves_the_controllers_of_others_as_they_were(build):
    segmenter = small_segmenter(build)
    segmenter.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1))
    rng = np.random.default_rng(0)
    data = {
        "images": rng.integers(0, 256, (2, 64, 64, 3)).astype("uint8"),
        "modalities": np.array([1, 1], "int32"),
    }
    masks = rng.integers(0, 2, (2, 64, 64, 1)).astype("uint8")
    controllers = [segmenter.backbone.controller_layers(k) for k in range(3)]
    before = [[build.array(w) for one in own for w in one.weights] for own in controllers]
    segmenter.fit(data, masks, batch_size=2, epochs=2, verbose=0)
    after = [[build.array(w) for one in own for w in one.weights] for own in controllers]
    for k in (0, 2):
        for old, new in zip(before[k], after[k], strict=True):
            np.testing.assert_array_equal(old, new)
    assert all(not np.array_equal(*pair) for pair in zip(before[1], after[1], strict=True))


@pytest.mark.slow_on("jax", "tensorflow")
def test_folding_takes_the_norms_of_the_backbone_and_gives_the_same(build):
    segmenter = small_segmenter(build)
    inputs = {
        "images": np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32"),
        "modalities": np.array([1], "int32"),
    }
    expected = build.run(segmenter.backbone, inputs)["masks"]
    folded = segmenter.fold()
    found = build.run(folded.backbone, inputs)["masks"]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not [weight for weight in folded.weights if "moving" in weight.path]
    assert not {id(w) for w in segmenter.weights} & {id(w) for w in folded.weights}
    assert folded.backbone.image_encoder.levels == segmenter.backbone.image_encoder.levels


def test_lora_adapts_convolutions_that_are_named(build):
    encoder = KerasHubImageEncoder(SHALLOW, neck_dim=8, num_modalities=2)
    with pytest.raises(InputError, match="give target_layer_names among its own: block1a_project"):
        encoder.enable_lora(2)
    encoder.enable_lora(2, ["block2a_project"])
    assert {w.name for w in encoder.trainable_variables} == {"lora_kernel_a", "lora_kernel_b"}
