import numpy as np
import pytest

from keras_espmedsam.models import TinyViTBackbone
from tests.models.image_encoder_contract import ImageEncoderContract


def make_encoder(**kwargs):
    config = dict(
        hidden_dims=(8, 8, 16, 16),
        depths=(1, 1, 1, 1),
        num_heads=(1, 2, 2),
        window_sizes=(4, 4, 4),
        neck_dim=16,
        adapter_ratio=1,
    )
    return TinyViTBackbone(**{**config, **kwargs})


class TestTinyViT(ImageEncoderContract):
    holds_controllers = True

    def make(self, **kwargs):
        three = dict(hidden_dims=(8, 8, 16), depths=(1, 1, 1), num_heads=(1, 2))
        return make_encoder(**three, window_sizes=(4, 4), strides=(2, 2), **kwargs)


def test_neck_of_several_levels_keeps_the_asked_stride(build):
    encoder = make_encoder(neck_levels=(0, 1, 2, 3), output_stride=8)
    assert encoder.size_multiple == 16
    assert build.run(encoder, np.zeros((1, 64, 96, 3), "float32")).shape == (1, 8, 12, 16)
    with pytest.raises(ValueError, match="multiples of 16"):
        build.run(encoder, np.zeros((1, 64, 88, 3), "float32"))


def test_without_neck_gives_the_last_stage():
    encoder = make_encoder(neck_dim=None, strides=(2, 2, 1), hidden_dims=(8, 8, 16, 24))
    assert encoder.output_stride == 16
    assert encoder.levels["embedding"] == encoder.levels["stage_3"] == (16, 24)
    assert encoder.output.shape == (None, None, None, 24)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"depths": (1, 1, 1)}, "3 depths"),
        ({"num_heads": (1, 2)}, "2 num_heads"),
        ({"neck_dim": None, "neck_levels": (1,)}, "without a neck"),
    ],
)
def test_contradicting_arguments_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        make_encoder(**change)
