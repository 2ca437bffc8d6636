"""A modality that is added to a trained segmenter leaves the others as they were."""

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.layers.window_attention import CLOSED_TOKEN_BIAS
from keras_espmedsam.models.esp_medsam.specialization import shared_weights

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 32, 32, 3), dtype="uint8")
MASKS = (RNG.random((4, 32, 32, 1)) > 0.7).astype("uint8")
# Old and new modalities in one batch.
MIXED = {"images": IMAGES, "modalities": np.array([0, 3, 2, 3], "int32")}


def controller(backbone, modality):
    return [w for layer in backbone.controller_layers(modality) for w in layer.weights]


def own_weights(backbone, modality):
    """Those of the controller and of what the decoder holds for an added modality."""
    added = [w for layer in backbone.added_layers(modality) for w in layer.weights]
    return controller(backbone, modality) + added


def masks(segmenter, modalities, build):
    x = segmenter.prepare_batch({"images": IMAGES, "modalities": np.array(modalities, "int32")})
    return build.run(segmenter, x)["masks"]


pytestmark = pytest.mark.usefixtures("untraced_tensorflow")


@pytest.fixture(scope="module")
def segmenter(build):
    """A convolutional and an attention stage, each with BatchNorm: all that there is to freeze."""
    encoder = build.encoder(
        hidden_dims=(8, 16), depths=(1, 1), num_heads=(2,), window_sizes=(4,), strides=(2,)
    )
    backbone = build.backbone(encoder, transformer_depth=1)
    return build.randomize(build.segmenter(backbone, image_size=(32, 32)))


@pytest.fixture(scope="module")
def trained(segmenter, build):
    """The segmenter with a fourth modality, before and after it has been trained.

    Gives the model, its weights before, and the masks of the four modalities before and after.
    """
    model = segmenter.add_modality("baby", init_from="lung")
    weights = {id(w): build.array(w) for w in model.weights}
    before = masks(model, [0, 1, 2, 3], build)
    model.compile(keras.optimizers.AdamW(1e-2, weight_decay=0.1))
    model.fit(MIXED, MASKS, batch_size=4, epochs=2, verbose=0)
    return model, weights, before, masks(model, [0, 1, 2, 3], build)


@pytest.fixture(scope="module")
def twice(trained):
    return trained[0].add_modality("second")


def test_old_weights_and_statistics_stay_bit_for_bit(segmenter, trained, build):
    old, new = segmenter.backbone, trained[0].backbone
    assert new.modalities == ("skin", "lung", "eye", "baby")
    pairs = list(zip(shared_weights(old), shared_weights(new), strict=True))
    for k in range(3):
        pairs += zip(controller(old, k), controller(new, k), strict=True)
    assert sum("moving_variance" in w.path for w, _ in pairs) > 5
    for expected, weight in pairs:
        np.testing.assert_array_equal(build.array(weight), build.array(expected))


def test_all_that_was_added_is_trained(trained, build):
    model, before = trained[:2]
    added = own_weights(model.backbone, "baby")
    assert {id(w) for w in added} == {id(w) for w in model.trainable_weights}
    assert {w.modality for w in added} == {3}
    for weight in added:
        assert not np.array_equal(build.array(weight), before[id(weight)])


def test_old_masks_stay_and_the_new_one_is_its_own(segmenter, trained, build):
    before, after = trained[2:]
    np.testing.assert_array_equal(after[:3], before[:3])
    assert np.abs(after[3] - before[3]).max() > 1e-3
    # The old model is another program, in which sums are taken in another order.
    expected = masks(segmenter, [0, 1, 2, 1], build)
    probabilities = [1 / (1 + np.exp(-x)) for x in (after, expected)]
    np.testing.assert_allclose(probabilities[0][:3], probabilities[1][:3], rtol=0, atol=1e-6)
    assert np.abs(before[3] - expected[3]).max() > 1e-3  # Its query is seen, beside the old one.


def test_a_preset_keeps_it_and_can_be_trained_again(twice, tmp_path, build):
    twice.save_to_preset(tmp_path / "preset")
    again = type(twice).from_preset(str(tmp_path / "preset"))
    assert twice.modalities == again.modalities == ("skin", "lung", "eye", "baby", "second")
    for weight, expected in zip(again.weights, twice.weights, strict=True):
        np.testing.assert_array_equal(build.array(weight), build.array(expected))
    # What is frozen is not kept: all can be trained, or again the new one alone.
    everything = [w.path for w in again.trainable_weights]
    again.train_only_modality("second")
    assert [w.path for w in again.trainable_weights] == [w.path for w in twice.trainable_weights]
    again.train_only_modality("lung")
    assert {id(w) for w in again.trainable_weights} == {
        id(w) for w in controller(again.backbone, 1)
    }
    again.train_only_modality(None)
    assert [w.path for w in again.trainable_weights] == everything
    assert len(everything) == len(again.backbone.trainable_weights) > 50


def test_its_specialist_keeps_its_query_and_drops_other_added_ones(twice, build):
    special = twice.specialize("baby").backbone
    assert (special.num_added_queries, special.query_indices) == (1, (4,))
    assert len(special.mask_decoder.added_queries) == 1
    old = twice.backbone
    pairs = list(zip(shared_weights(special), shared_weights(old), strict=True))
    pairs += zip(own_weights(special, 0), own_weights(old, "baby"), strict=True)
    assert len(pairs) == len(special.weights)
    for weight, expected in pairs:
        np.testing.assert_array_equal(build.array(weight), build.array(expected))


def test_a_specialist_can_be_given_another_modality(twice):
    extended = twice.specialize("baby").add_modality("third", init_from="baby")
    assert extended.modalities == ("baby", "third")
    assert extended.backbone.query_indices == (4, 5)


def test_an_old_modalitys_specialist_is_that_of_the_old_model(segmenter, twice, build):
    old, new = (model.specialize("lung") for model in (segmenter, twice))
    assert new.backbone.get_config() == old.backbone.get_config()
    for weight, expected in zip(new.weights, old.weights, strict=True):
        np.testing.assert_array_equal(build.array(weight), build.array(expected))


def test_it_starts_from_another_modality_or_closed(segmenter, twice, build):
    start = segmenter.add_modality("baby", init_from="lung").backbone
    for weight, expected in zip(controller(start, 3), controller(start, 1), strict=True):
        np.testing.assert_array_equal(build.array(weight), build.array(expected))
    np.testing.assert_array_equal(
        build.array(start.mask_decoder.added_queries[0]["query"]),
        build.array(start.mask_decoder.queries)[1],
    )
    for layer in twice.backbone.controller_layers("second"):
        if "token" in layer.shapes:
            np.testing.assert_array_equal(build.array(layer["bias"]), CLOSED_TOKEN_BIAS)
        else:
            assert not build.array(layer["dense_2_kernel"]).any()
            assert not build.array(layer["dense_2_bias"]).any()


def test_it_starts_from_an_added_modality_with_a_network_of_its_own(build):
    """No controllers here: query and hyper-network are all that is added."""
    image = keras.Input((64, 64, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))
    backbone = build.backbone(encoder, transformer_depth=1, shared_hypernetwork=False)
    first = build.segmenter(backbone).add_modality("first", init_from="eye")
    decoder = first.backbone.mask_decoder
    for weight, expected in zip(
        decoder.added_hypernetworks[0].weights, decoder.hypernetworks[2].weights, strict=True
    ):
        np.testing.assert_array_equal(build.array(weight), build.array(expected))
    assert len(first.trainable_weights) == 7
    build.randomize(first)
    second = first.add_modality("second", init_from="first")
    for weight, expected in zip(
        [w for layer in second.backbone.added_layers("second") for w in layer.weights],
        [w for layer in first.backbone.added_layers("first") for w in layer.weights],
        strict=True,
    ):
        np.testing.assert_array_equal(build.array(weight), build.array(expected))


@pytest.mark.parametrize(
    ("name", "init_from", "words"),
    [
        ("lung", None, "has already"),
        ("auto", None, "asks for recognition"),
        ("2nd", None, "beginning with a letter"),
        ("a,b", None, "beginning with a letter"),
        (7, None, "beginning with a letter"),
        ("new", "brain", "knows skin, lung, eye"),
        ("new", 3, "knows skin, lung, eye"),
    ],
)
def test_what_cannot_be_added_is_explained(segmenter, name, init_from, words):
    with pytest.raises(InputError, match=words):
        segmenter.add_modality(name, init_from)
