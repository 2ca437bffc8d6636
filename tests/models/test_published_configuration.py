"""The published configuration has the published number of parameters, part by part."""

import math

import pytest

import keras_espmedsam as kem


def count(*parts):
    return sum(math.prod(w.shape) for part in parts for w in part.trainable_weights)


@pytest.fixture(scope="module")
def backbone():
    return kem.models.ESPMedSAMBackbone(kem.models.TinyViTBackbone(num_modalities=6))


def test_controller(backbone):
    for name in backbone.modalities:
        assert count(*backbone.controller_layers(name)) == 3_144_202


def test_controller_parts(backbone):
    weights = [w for layer in backbone.controller_layers(0) for w in layer.trainable_weights]
    sizes = {}
    for weight in weights:
        name = weight.path.rsplit("/", 1)[-1]
        part = name if name in ("token", "bias") else "adapter"
        sizes[part] = sizes.get(part, 0) + math.prod(weight.shape)
    assert sizes == {"adapter": 3_142_336, "token": 1_856, "bias": 10}


def test_shared_encoder(backbone):
    controllers = [layer for k in range(6) for layer in backbone.controller_layers(k)]
    assert count(backbone.image_encoder) - count(*controllers) == 5_743_892


def test_decoder_and_queries(backbone):
    queries = math.prod(backbone.mask_decoder.queries.shape)
    assert queries == 1_792
    assert count(backbone.mask_decoder) - queries == 3_505_024


def test_prompt_generator(backbone):
    generator = backbone.prompt_generator
    assert count(generator.patch_conv, generator.patch_norm, generator.patch_logits) == 65_793
    assert count(generator.prompt_conv, generator.prompt_norm) == 1_024


def test_whole(backbone):
    assert count(backbone) == 28_182_737
