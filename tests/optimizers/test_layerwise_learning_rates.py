import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.optimizers import DecoupledOptimizer, layerwise_learning_rates


def _tiny_vit(**kwargs):
    return kem.models.TinyViTBackbone(
        hidden_dims=(8, 8, 16, 16),
        depths=(1, 2, 1, 1),
        num_heads=(1, 2, 2),
        window_sizes=(4, 4, 4),
        neck_dim=16,
        **kwargs,
    )


ENCODERS = {
    "TinyViT": lambda: _tiny_vit(num_modalities=2),
    "TiC": lambda: kem.models.TiCBackbone(
        hidden_dims=(8, 8), depths=(1, 2), num_heads=(1, 1), kernel_size=3, neck_dim=8
    ),
    "ViTMed": lambda: kem.models.ViTMedBackbone(
        hidden_dim=8, depth=2, num_heads=2, window_size=2, global_indices=(1,), neck_dim=8,
        image_shape=(32, 32, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ENCODERS)
def test_every_variable_has_the_rate_of_its_depth(name):
    encoder = ENCODERS[name]()
    rates = layerwise_learning_rates(encoder, 0.5)
    blocks = [layer for layer in encoder.layers if "_block_" in f"_{layer.name}"]
    expected = {block.path: 0.5**k for k, block in enumerate(reversed(blocks))}
    before = rates[encoder.patch_embedding.path]
    assert before == 0.5 ** len(blocks)
    for variable in encoder.trainable_variables:
        keys = [key for key in rates if variable.path.startswith(f"{key}/")]
        layer = variable.path.split("/")[0]
        if layer == "neck":
            assert not keys
        elif layer in expected:
            assert rates[layer] == expected[layer]
        elif "merging" in layer:
            stage = int(layer.split("_")[1])
            assert rates[layer] == rates[f"stage_{stage + 1}_block_0"]
        else:
            assert [rates[key] for key in keys] == [before]


def test_an_optimizer_takes_them():
    """A block that is two before the last steps a quarter as far, and its controller with it."""
    encoder = _tiny_vit(num_modalities=1)
    assert layerwise_learning_rates(encoder, 0.5)["stage_1_block_1"] == 0.25
    optimizer = DecoupledOptimizer(
        keras.optimizers.SGD(1.0), layerwise_learning_rates(encoder, 0.5)
    )
    variables = [
        variable
        for variable in encoder.trainable_variables
        if variable.path.startswith(("stage_1_block_1/mlp/", "stage_1_block_1/adapter/", "neck/"))
    ]
    before = [keras.ops.convert_to_numpy(v).copy() for v in variables]
    optimizer.build(variables)
    optimizer.apply([keras.ops.ones(v.shape) for v in variables])
    for variable, old in zip(variables, before, strict=True):
        step = 1.0 if variable.path.startswith("neck") else 0.25
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(variable), old - step, rtol=1e-5, atol=1e-6
        )


def test_what_is_around_an_encoder_is_looked_through():
    encoder = _tiny_vit()
    backbone = kem.models.ESPMedSAMBackbone(
        encoder, modalities=("one",), transformer_num_heads=2, transformer_mlp_dim=16
    )
    segmenter = kem.models.ESPMedSAMImageSegmenter(backbone)
    assert layerwise_learning_rates(segmenter, 0.9) == layerwise_learning_rates(encoder, 0.9)


def test_what_cannot_be_ordered_is_refused():
    image = keras.Input((8, 8, 3))
    with pytest.raises(InputError, match=r"Received Functional .* expected an encoder of blocks"):
        layerwise_learning_rates(keras.Model(image, keras.layers.Dense(2)(image)), 0.5)
    with pytest.raises(InputError, match=r"layer decay 1\.5; expected one above 0, at most 1"):
        layerwise_learning_rates(None, 1.5)
