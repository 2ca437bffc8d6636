import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from tests.models.image_encoder_contract import ImageEncoderContract

SMALL = dict(hidden_dims=(8, 8, 16, 16), depths=(1, 1, 1, 1), num_heads=(1, 2, 2, 4), kernel_size=3)


class TestTiC(ImageEncoderContract):
    holds_controllers = True
    several_levels = True
    sizes = ((64, 64), (32, 64))

    def make(self, **kwargs):
        two = dict(hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 2), kernel_size=3)
        neck = dict(neck_dim=16, neck_levels=(0, 1), output_stride=8, adapter_ratio=1)
        return kem.models.TiCBackbone(**{**two, **neck, **kwargs})


@pytest.mark.parametrize(("shift_size", "pool_size"), [(None, None), (3, 2)])
def test_any_size_with_the_same_weights(build, shift_size, pool_size):
    backbone = kem.models.TiCBackbone(**SMALL, shift_size=shift_size, pool_size=pool_size)
    build.randomize(backbone)
    rng = np.random.default_rng(0)
    for size in ((64, 64), (70, 101)):
        out = build.run(backbone, rng.normal(size=(1, *size, 3)).astype("float32"))
        assert out.shape == (1, -(-size[0] // 32), -(-size[1] // 32), 16)
        assert np.isfinite(out).all()
    # One block in two is shifted; the mechanisms have no weights.
    shifted = [block.shift is not None for stage in backbone.blocks for block in stage]
    assert shifted == [False, shift_size is not None] * 2
    plain = kem.models.TiCBackbone(**SMALL, shift_size=None, pool_size=None)
    assert plain.count_params() == backbone.count_params()


def test_pyramid(build):
    backbone = kem.models.TiCBackbone(**SMALL)
    assert [tuple(x.shape[1:]) for x in backbone.pyramid_outputs.values()] == [
        (None, None, width) for width in SMALL["hidden_dims"]
    ]
    levels = keras.Model(backbone.input, dict(backbone.pyramid_outputs))
    out = build.run(levels, np.zeros((1, 64, 96, 3), "float32"))
    assert {name: x.shape[1:3] for name, x in out.items()} == {
        "P2": (16, 24),
        "P3": (8, 12),
        "P4": (4, 6),
        "P5": (2, 3),
    }


def test_config_round_trip():
    config = dict(
        SMALL,
        shift_size=2,
        pool_size=3,
        mlp_ratio=2,
        border="mask",
        attention_dropout=0.1,
        neck_dim=8,
        neck_levels=(1, 3),
        output_stride=16,
        num_modalities=2,
        adapter_ratio=1,
        adapter_zero_init=True,
        image_shape=(64, 64, 3),
    )
    backbone = kem.models.TiCBackbone(**config)
    again = kem.models.TiCBackbone.from_config(backbone.get_config())
    assert {key: again.get_config()[key] for key in config} == config
    assert [w.shape for w in again.weights] == [w.shape for w in backbone.weights]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depths": (1, 1, 1)}, "3 depths"),
        ({"neck_levels": (1,)}, "without a neck"),
        ({"num_heads": (3, 2, 2, 4)}, "heads must divide"),
        ({"kernel_size": 4}, "kernel_size=4"),
    ],
)
def test_contradicting_arguments_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        kem.models.TiCBackbone(**{**SMALL, **change})


def test_weights_are_in_one_order_on_every_backend():
    backbone = kem.models.TiCBackbone(
        hidden_dims=(8, 8), depths=(1, 1), num_heads=(1, 2), kernel_size=3, neck_dim=8
    )
    expected = ["patch_embedding", "stage_0_merging", "neck", "stage_0_block_0", "stage_1_block_0"]
    for variables in (backbone.weights, backbone.variables, backbone.trainable_weights):
        layers = [variable.path.split("/")[0] for variable in variables]
        assert list(dict.fromkeys(layers)) == expected
