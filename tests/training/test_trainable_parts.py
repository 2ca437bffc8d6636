"""Parts of a segmenter that are trained, by name."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.training import select_trainable

NAMES = ("skin", "lung", "eye")


def backbone(encoder):
    return kem.models.ESPMedSAMBackbone(
        encoder, modalities=NAMES, transformer_num_heads=2, transformer_mlp_dim=16
    )


@pytest.fixture(scope="module")
def light():
    return backbone(
        kem.models.TinyViTBackbone(
            hidden_dims=(8, 8, 16),
            depths=(1, 1, 1),
            num_heads=(1, 2),
            window_sizes=(4, 4),
            strides=(2, 2),
            neck_dim=16,
            num_modalities=3,
            adapter_ratio=1,
        )
    )


@pytest.fixture(scope="module")
def medical():
    return backbone(
        kem.models.ViTMedBackbone(
            hidden_dim=16,
            depth=2,
            num_heads=2,
            window_size=2,
            global_indices=(1,),
            neck_dim=16,
            image_shape=(32, 32, 3),
        )
    )


def paths(model):
    return {v.path for v in model.trainable_variables}


def test_the_parts_are_all_and_none_overlaps(light, medical):
    for model in (light, medical):
        select_trainable(model)
        everything = paths(model)
        found = []
        for part in ("shared_encoder", "controllers", "adapters", "prompt_generator"):
            if part == ("adapters" if model is light else "controllers"):
                with pytest.raises(InputError, match="nothing would be trained"):
                    select_trainable(model, [part])
            else:
                select_trainable(model, [part])
                found.append(paths(model))
        for part in ("decoder", "queries"):
            select_trainable(model, [part])
            found.append(paths(model))
        assert sum(map(len, found)) == len(everything)
        assert set.union(*found) == everything
        # After all that freezing, and on TensorFlow too, everything comes back.
        select_trainable(model)
        assert paths(model) == everything
        assert len(everything) == len([v for v in model.variables if v.path in everything])


def test_a_controller_is_trained_alone(light):
    select_trainable(light, ["controllers"], ["lung"])
    assert {v.modality for v in light.trainable_variables} == {1}
    expected = sum(len(layer.weights) for layer in light.controller_layers("lung"))
    assert len(light.trainable_variables) == expected
    select_trainable(light, ["controllers", "queries"], ["lung", "eye"])
    assert {getattr(v, "modality", None) for v in light.trainable_variables} == {None, 1, 2}


# JAX compiles each of its operations apart.
@pytest.mark.slow_on("jax")
def test_what_is_frozen_keeps_its_statistics(light):
    keras.utils.set_random_seed(0)
    select_trainable(light, ["prompt_generator"])
    encoder = light.image_encoder
    norms = [w for w in encoder.weights if "moving" in w.path]
    assert norms
    before = [keras.ops.convert_to_numpy(w).copy() for w in norms]
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    inputs = {"images": images, "modalities": np.array([1])}
    encoder(inputs, training=True)
    for weight, old in zip(norms, before, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(weight), old)
    select_trainable(light)
    encoder(inputs, training=True)
    changed = [
        not np.array_equal(keras.ops.convert_to_numpy(w), old)
        for w, old in zip(norms, before, strict=True)
    ]
    assert all(changed)


def test_the_medical_additions_are_trained_alone(medical):
    select_trainable(medical, ["adapters"])
    expected = {v.path for layer in medical.image_encoder.adapter_layers() for v in layer.variables}
    assert paths(medical) == expected and expected


def test_nothing_of_it_is_saved(light):
    before = light.get_config()
    select_trainable(light, ["decoder"])
    assert light.get_config() == before
    select_trainable(light)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((["decodr"],), "the part 'decodr'; did you mean decoder"),
        (("all", ["lungs"]), "the modality 'lungs'; did you mean lung?"),
        (([],), "nothing would be trained"),
    ],
)
def test_unknown_names_are_told(light, arguments, words):
    with pytest.raises(InputError, match=words):
        select_trainable(light, *arguments)
    select_trainable(light)
