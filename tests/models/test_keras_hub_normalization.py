import keras_hub
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.models.image_converter import MEAN, STD
from keras_espmedsam.models.keras_hub_normalization import (
    checked_normalization,
    preset_normalization,
    renormalization,
)
from tests.models.test_keras_hub_encoder import DENSENET


def test_a_number_stands_for_three_and_imagenet_is_known_by_its_numbers():
    assert checked_normalization("imagenet") == "imagenet"
    assert checked_normalization([0, 255]) == ((0.0,) * 3, (255.0,) * 3)
    # What timm's mean and deviation become in keras-hub's converters.
    mean = 255 * np.array([0.485, 0.456, 0.406])
    assert checked_normalization((mean, 255 * np.array([0.229, 0.224, 0.225]))) == "imagenet"


@pytest.mark.parametrize(
    "wrong", ["unit", (1, 2, 3), (0, 0), (0, -1), ((1, 2), (3, 4)), 5, ("a", "b"), (0, np.inf)]
)
def test_another_normalisation_is_refused_in_a_sentence(wrong):
    with pytest.raises(InputError, match="of a backbone; expected 'imagenet', or mean and divisor"):
        checked_normalization(wrong)


def test_images_of_imagenet_become_what_the_backbone_was_trained_with():
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 4, 3))
    scale, offset = renormalization(((127.0,) * 3, (128.0, 64.0, 32.0)))
    found = (pixels - MEAN) / STD * scale + offset
    np.testing.assert_allclose(found, (pixels - 127) / [128, 64, 32], atol=1e-12)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"scale": 1 / 255}, ((0.0,) * 3, (255.0,) * 3)),
        ({"scale": [1 / 128] * 3, "offset": [-127 / 128] * 3}, ((127.0,) * 3, (128.0,) * 3)),
        ({}, ((0.0,) * 3, (1.0,) * 3)),
    ],
)
def test_a_presets_converter_says_how_images_are_normalised(tmp_path, options, expected):
    keras_hub.models.DenseNetBackbone(**DENSENET["config"]).save_to_preset(tmp_path)
    keras_hub.layers.DenseNetImageConverter(**options).save_to_preset(tmp_path)
    np.testing.assert_allclose(preset_normalization(str(tmp_path)), expected, rtol=1e-6)
