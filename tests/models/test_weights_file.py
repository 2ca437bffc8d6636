"""Weights of another model: Keras leaves out what is too many, and so its masks are wrong."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError


@pytest.fixture(scope="module")
def models(build):
    """Of three modalities: with one target each, with further ones, and with a fourth modality."""
    image = keras.Input((32, 32, 3))
    encoder = keras.Model(image, keras.layers.Conv2D(16, 16, strides=16)(image))

    def made(**options):
        options |= {"transformer_depth": 1, "transformer_mlp_dim": 8}
        return build.segmenter(build.backbone(encoder, **options), image_size=(32, 32))

    skin, lung = ("mask", "mole", "centre"), ("mask", "heart")
    return {
        "one": made(),
        "some": made(targets={"skin": skin, "lung": lung}),
        "other": made(targets={"lung": (*lung, "rib")}, instances={"eye": {"mask": "core"}}),
        "added": made(modalities=(*build.names, "foot"), num_added_queries=1),
    }


@pytest.fixture(scope="module")
def files(models, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for name, model in models.items():
        model.save_weights(folder / f"{name}.weights.h5")
    return folder


@pytest.mark.parametrize(
    ("held", "model", "words"),
    [
        ("some", "one", r"holds 3 targets that this model lacks \(2 of skin, 1 of lung\)\. Load"),
        ("one", "some", r"no weights for 3 targets of this model \(mole of skin, centre of skin, "),
        (
            "other",
            "some",
            r"holds 2 targets that this model lacks \(1 of lung, 1 of eye\) and has no weights for "
            r"2 targets of this model \(mole of skin, centre of skin\)\.",
        ),
        ("one", "other", r"3 targets of this model \(heart of lung, rib of lung, mask:core of eye"),
        ("added", "one", r"the queries of 1 added modality, and this model has none \(its modalit"),
        ("one", "added", r"the queries of 0 added modalities, and this model has those of 1 \("),
    ],
)
def test_weights_of_other_targets_and_modalities_are_named(models, files, held, model, words):
    before = [np.array(keras.ops.convert_to_numpy(one)) for one in models[model].weights]
    for part in (models[model], models[model].backbone):
        with pytest.raises(InputError, match=words):
            part.load_weights(files / f"{held}.weights.h5")
    for weight, value in zip(models[model].weights, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), value)


def test_weights_of_the_same_targets_are_loaded(models, files, build):
    weights = files / "some.weights.h5"
    expected = models["some"].get_weights()
    twin = build.randomize(type(models["some"]).from_config(models["some"].get_config()))
    twin.load_weights(weights)
    for found, value in zip(twin.get_weights(), expected, strict=True):
        np.testing.assert_array_equal(found, value)
    # Who asks for what fits gets that.
    build.randomize(models["other"]).load_weights(weights, skip_mismatch=True)
    found = models["other"].backbone.mask_decoder.queries
    np.testing.assert_array_equal(
        keras.ops.convert_to_numpy(found),
        keras.ops.convert_to_numpy(models["some"].backbone.mask_decoder.queries),
    )


def test_controllers_of_other_modalities_are_counted(build, tmp_path):
    path = tmp_path / "encoder.weights.h5"
    build.encoder().save_weights(path)
    single = build.encoder(num_modalities=1)
    with pytest.raises(InputError, match="the controllers of 3 modalities, and this model has tho"):
        single.load_weights(path)


def test_more_and_fewer_weights_than_the_model_has_are_refused(tmp_path):
    def classifier(*depths):
        backbone = kem.models.TiCBackbone(
            hidden_dims=(8, 8), depths=depths, num_heads=(1, 1), kernel_size=3
        )
        return kem.models.TiCImageClassifier(backbone, class_names=("eye", "lung"), dropout=0.5)

    paths = {depth: tmp_path / f"{depth}.weights.h5" for depth in (1, 2)}
    for depth, path in paths.items():
        saved = classifier(1, depth)
        saved.compile()
        saved.save_weights(path)
    with pytest.raises(InputError, match=r"holds (8\d) arrays .* has (6\d) .*another model's"):
        classifier(1, 1).load_weights(paths[2])
    # Keras would only warn.
    with pytest.raises(InputError, match=r"holds (6\d) arrays .* has (8\d) .*another model's"):
        classifier(1, 2).load_weights(paths[1])
    classifier(1, 2).load_weights(paths[2])
