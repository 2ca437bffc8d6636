import keras
import keras_hub
import numpy as np
import pytest

import keras_espmedsam as kem

RNG = np.random.default_rng(0)
IMAGES = RNG.normal(size=(3, 64, 64, 3)).astype("float32")


@pytest.fixture(scope="module")
def backbone(segmenter):
    return segmenter.backbone


def inputs(modalities, images=IMAGES):
    return {"images": images[: len(modalities)], "modalities": np.array(modalities, "int32")}


def test_a_mixed_batch_gives_what_single_modality_batches_give(backbone, build):
    mixed = build.run(backbone, inputs([2, 0, 1]))
    for i, modality in enumerate([2, 0, 1]):
        single = build.run(backbone, inputs([modality] * 3))
        for name in ("masks", "patches", "image_embeddings"):
            np.testing.assert_allclose(mixed[name][i], single[name][i], atol=1e-5, rtol=1e-5)


def test_modalities_differ(backbone, build):
    first, second = (build.run(backbone, inputs([k] * 3))["masks"] for k in (0, 1))
    assert np.abs(first - second).max() > 1e-3


@pytest.mark.slow_on("jax")
def test_encode_and_decode_apart_give_the_whole(backbone, build):
    batch = inputs([0, 1, 2])
    whole = build.run(backbone, batch)
    encode, decode = (build.compiled(part) for part in (backbone.encode, backbone.decode))
    embeddings = encode(batch["images"], batch["modalities"])
    apart = decode(embeddings, batch["modalities"])
    np.testing.assert_allclose(build.array(embeddings), whole["image_embeddings"], atol=1e-5)
    for name in ("masks", "patches"):
        np.testing.assert_allclose(build.array(apart[name]), whole[name], atol=1e-5)


def test_all_queries_hold_each_samples_own(backbone, build):
    batch = inputs([0, 1, 2])
    embeddings = build.run(backbone, batch)["image_embeddings"]
    own = build.run(backbone, batch)["masks"]
    decode = build.compiled(lambda x: backbone.decode(x, all_queries=True))
    masks = build.array(decode(embeddings)["masks"])
    assert masks.shape == (3, 64, 64, 4)
    for i in range(3):
        np.testing.assert_allclose(masks[i, ..., i], own[i, ..., 0], atol=1e-5)


@pytest.mark.parametrize("size", [(96, 64)])
def test_any_multiple_of_32_at_call_time(backbone, build, size):
    images = np.zeros((1, *size, 3), "float32")
    outputs = build.run(backbone, inputs([1], images))
    assert outputs["masks"].shape == (1, *size, 1)
    assert outputs["patches"].shape == (1, size[0] // 32, size[1] // 32, 1)


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="`run` compiles where Keras compiles"
)
def test_a_graph_gives_what_operations_one_by_one_give(segmenter, build):
    for size in ((64, 64), (96, 32)):  # The graph for the second leaves sizes open.
        batch = inputs([2, 0], RNG.normal(size=(2, *size, 3)).astype("float32"))
        expected = build.run(segmenter, batch)
        found = keras.Model.predict_on_batch(segmenter, batch)
        assert set(found) == set(expected)
        for name, value in expected.items():
            scale = max(1, np.abs(value).max())
            np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-5 * scale)


def test_missing_modalities_are_asked_for(backbone):
    with pytest.raises(ValueError, match="Received no modality; give one of"):
        backbone.encode(IMAGES)


def test_another_encoder_fits(build):
    image = keras.Input((64, 64, 3))
    features = keras.layers.Conv2D(16, 16, strides=16)(image)
    backbone = build.backbone(keras.Model(image, features))
    outputs = build.run(backbone, inputs([0, 1]))
    assert outputs["masks"].shape == (2, 64, 64, 1)
    # An encoder without controllers: only the queries tell modalities apart.
    assert backbone.controller_layers(0) == []


@pytest.mark.slow_on("jax")
def test_keras_hubs_sam_encoder_fits(build):
    encoder = keras_hub.models.ViTDetBackbone(
        hidden_size=16,
        num_layers=1,
        intermediate_dim=16,
        num_heads=2,
        global_attention_layer_indices=[0],
        image_shape=(64, 64, 3),
        patch_size=16,
        num_output_channels=16,
        window_size=2,
    )
    outputs = build.run(build.backbone(encoder), inputs([0, 1]))
    assert outputs["masks"].shape == (2, 64, 64, 1)


def test_config_round_trip(backbone, build):
    again = kem.models.ESPMedSAMBackbone.from_config(backbone.get_config())
    again.set_weights(backbone.get_weights())
    batch = inputs([0, 1, 2])
    expected = build.run(backbone, batch)
    for name, value in build.run(again, batch).items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.slow_on("jax")
def test_heads_stay_float32_under_mixed_precision(build):
    policy = "mixed_bfloat16"
    backbone = build.backbone(build.encoder(dtype=policy), dtype=policy)
    # What the model declares, and what it computes.
    assert {name: x.dtype for name, x in backbone.output.items()} == {
        "masks": "float32",
        "patches": "float32",
        "image_embeddings": "bfloat16",
    }
    outputs = build.run(backbone, inputs([0, 1, 2]))
    assert outputs["masks"].dtype == outputs["patches"].dtype == "float32"


@pytest.mark.slow_on("jax")
def test_mixed_precision_stays_near_float32(segmenter, build):
    config = segmenter.backbone.get_config()
    config["dtype"] = "mixed_bfloat16"
    mixed = kem.models.ESPMedSAMBackbone.from_config(config)
    assert mixed.image_encoder.dtype_policy.name == "mixed_bfloat16"
    mixed.set_weights(segmenter.backbone.get_weights())
    exact = build.run(segmenter.backbone, inputs([0, 1, 2]))["image_embeddings"]
    close = build.run(mixed, inputs([0, 1, 2]))["image_embeddings"].astype("float32")
    assert np.abs(exact - close).mean() < 0.05 * np.abs(exact).mean()


def test_an_encoder_keeps_a_precision_of_its_own(build):
    backbone = build.backbone(build.encoder(dtype="mixed_bfloat16"), dtype="float32")
    again = kem.models.ESPMedSAMBackbone.from_config(backbone.get_config())
    assert again.image_encoder.dtype_policy.name == "mixed_bfloat16"
    assert again.dtype_policy.name == "float32"


def test_a_size_that_does_not_fit_names_the_size_to_pad_to(backbone):
    with pytest.raises(ValueError, match="Pad them to 64 x 96"):
        backbone.encode(np.zeros((1, 40, 96, 3), "float32"), np.array([0]))


def test_number_and_names_of_modalities_are_configuration(build):
    backbone = build.backbone(build.encoder(num_modalities=2), modalities=("a", "b"))
    assert backbone.num_queries == 3
    assert backbone.mask_decoder.queries.shape == (3, 16)


@pytest.mark.slow_on("jax", "tensorflow")
def test_contradictions_are_explained(build):
    with pytest.raises(ValueError, match="3 modality controllers and 2 modalities"):
        build.backbone(modalities=("a", "b"))
    with pytest.raises(ValueError, match="each once"):
        build.backbone(modalities=("a", "a", "b"))
    with pytest.raises(ValueError, match="1 query_indices"):
        build.backbone(query_indices=(0,))
