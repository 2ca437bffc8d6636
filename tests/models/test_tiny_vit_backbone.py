import keras
import numpy as np
import pytest

import keras_espmedsam as kem


def test_alone_without_controllers(build):
    encoder = build.encoder(num_modalities=0)
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")
    assert build.run(encoder, images).shape == (2, 4, 6, 16)
    assert not any("modality" in w.path for w in encoder.weights)


def test_neck_of_several_levels_keeps_the_asked_stride(build):
    encoder = build.encoder(num_modalities=0, neck_levels=(0, 1, 2, 3), output_stride=8)
    assert build.run(encoder, np.zeros((1, 64, 96, 3), "float32")).shape == (1, 8, 12, 16)


def test_without_neck_gives_the_last_stage(build):
    encoder = build.encoder(num_modalities=0, neck_dim=None, strides=(2, 2, 1))
    assert encoder.output_stride == 16
    assert build.run(encoder, np.zeros((1, 64, 64, 3), "float32")).shape == (1, 4, 4, 16)


def test_config_round_trip(build):
    encoder = build.randomize(build.encoder(neck_levels=(1, 3), output_stride=16))
    again = kem.models.TinyViTBackbone.from_config(encoder.get_config())
    again.set_weights(encoder.get_weights())
    inputs = {
        "images": np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32"),
        "modalities": np.array([0, 2], "int32"),
    }
    np.testing.assert_array_equal(build.run(encoder, inputs), build.run(again, inputs))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depths": (1, 1, 1)}, "3 depths"),
        ({"num_heads": (1, 2)}, "2 num_heads"),
        ({"neck_dim": None, "neck_levels": (1,)}, "without a neck"),
    ],
)
def test_contradicting_arguments_are_named(build, change, words):
    with pytest.raises(ValueError, match=words):
        build.encoder(**change)


def test_shared_encoder_alone_is_that_of_an_encoder_without_controllers(build):
    encoder = build.randomize(build.encoder())
    plain = build.encoder(num_modalities=0)
    shared = [w for w in encoder.weights if not hasattr(w, "modality")]
    for old, new in zip(shared, plain.weights, strict=True):
        new.assign(build.array(old))
    images = np.random.default_rng(0).normal(size=(1, 64, 64, 3)).astype("float32")

    class Alone(keras.layers.Layer):
        def call(self, x):
            return encoder.features(x, controllers=False, training=False)

    x = keras.Input((64, 64, 3))
    features = build.run(keras.Model(x, Alone()(x)), images)
    np.testing.assert_allclose(features["embedding"], build.run(plain, images), atol=1e-5)
    assert features["stage_1"].shape == (1, 8, 8, 8)
