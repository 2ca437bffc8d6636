import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.config.phase_settings import OptimizerSettings
from keras_espmedsam.training.config.settings import load_settings
from keras_espmedsam.training.make_optimizer import make_optimizer
from keras_espmedsam.training.part_learning_rates import part_learning_rates


def tic(**kwargs):
    return kem.models.TiCBackbone(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 1), kernel_size=3, neck_dim=8, **kwargs
    )


def test_a_part_has_a_rate_of_its_own():
    backbone = kem.models.ESPMedSAMBackbone(
        tic(num_modalities=2),
        modalities=("xray", "fundus"),
        transformer_depth=1,
        transformer_num_heads=1,
        transformer_mlp_dim=8,
    )
    factors = {"shared_encoder": 0.25, "queries": 2}
    rates = part_learning_rates(backbone, factors)
    encoder = {weight.path for weight in backbone.image_encoder.weights}
    for index in (0, 1):
        for layer in backbone.controller_layers(index):
            encoder -= {weight.path for weight in layer.weights}
    assert {path for path, rate in rates.items() if rate == 0.25} == encoder
    assert {path for path, rate in rates.items() if rate == 2} == {
        backbone.mask_decoder.queries.path
    }
    optimizer = make_optimizer(OptimizerSettings(part_rates=factors), 0.1, backbone)
    optimizer.build(backbone.trainable_variables)
    assert [copy.name.partition("_x")[2] for copy in optimizer.copies] == ["2", "", "0.25", "", ""]


def test_parts_and_layers_multiply():
    settings = OptimizerSettings(layer_decay=0.5, part_rates={"shared_encoder": 0.5})
    encoder = tic(num_modalities=2)
    rates = make_optimizer(settings, 0.1, encoder).learning_rate_multipliers
    by_layer = kem.optimizers.layerwise_learning_rates(encoder, 0.5)
    kernel = encoder.get_layer("stage_0_block_0").attention.qkv.kernel.path
    assert (rates[kernel], by_layer["stage_0_block_0"]) == (0.25, 0.5)
    # The neck is in no block; controllers have the rate of the block that they are in.
    assert {rate for path, rate in rates.items() if path.startswith("neck/")} == {0.5}
    assert not any("modality_0" in path for path in rates)


def test_a_part_that_does_not_exist_is_told():
    with pytest.raises(InputError, match="the part shared_encodr is unknown; did you mean"):
        load_settings(OptimizerSettings, {"part_rates": {"shared_encodr": 0.1}})
    with pytest.raises(InputError, match="shared_encoder: 0; expected"):
        load_settings(OptimizerSettings, {"part_rates": {"shared_encoder": 0}})
    with pytest.raises(InputError, match="for the part decoder, which this model does not have"):
        part_learning_rates(tic(), {"decoder": 0.1})
