"""Modalities that are segmented at a size of their own."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError

pytestmark = pytest.mark.usefixtures("untraced_tensorflow")

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype="uint8")


@pytest.fixture(scope="module")
def segmenter():
    keras.utils.set_random_seed(0)
    return made(image_sizes={"eye": (64, 96)})


def made(image_shape=(None, None, 3), **sizes):
    encoder = kem.models.TiCBackbone(
        hidden_dims=(8,), depths=(1,), num_heads=(1,), kernel_size=3, neck_dim=8, output_stride=16,
        image_shape=image_shape,
    )  # fmt: skip
    backbone = kem.models.ESPMedSAMBackbone(
        encoder,
        modalities=("lung", "eye"),
        transformer_depth=1,
        transformer_num_heads=1,
        transformer_mlp_dim=8,
    )
    converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32), **sizes)
    preprocessor = kem.models.ESPMedSAMImageSegmenterPreprocessor(converter)
    return kem.models.ESPMedSAMImageSegmenter(backbone, preprocessor)


def probabilities(segmenter, modalities, images=IMAGE):
    return segmenter.segment(images, modalities)["probabilities"]


@pytest.mark.slow_on("jax")
def test_each_modality_is_segmented_at_its_own_size(segmenter, tmp_path):
    lung, eye = probabilities(segmenter, ["lung", "eye"], [IMAGE, IMAGE])
    converter = segmenter.preprocessor.image_converter
    plain = made()
    plain.set_weights(segmenter.get_weights())
    np.testing.assert_array_equal(probabilities(plain, "lung"), lung)
    assert np.abs(probabilities(plain, "eye") - eye).max() > 1e-3
    plain.preprocessor.image_converter.image_size = (64, 96)
    np.testing.assert_allclose(probabilities(plain, "eye"), eye, atol=1e-6)
    # A model of one modality has its size; others know nothing of it.
    alone = segmenter.specialize("eye")
    np.testing.assert_allclose(alone.segment(IMAGE)["probabilities"], eye, atol=1e-6)
    own = alone.preprocessor.image_converter
    assert (own.image_size, own.image_sizes) == ((64, 96), {})
    other = segmenter.specialize("lung").preprocessor.image_converter
    assert (other.image_size, other.image_sizes) == ((32, 32), {})
    assert converter.image_sizes == {"eye": (64, 96)}
    segmenter.save_to_preset(tmp_path / "preset")
    loaded = type(segmenter).from_preset(tmp_path / "preset")
    assert loaded.preprocessor.image_converter.image_sizes == {"eye": (64, 96)}
    np.testing.assert_allclose(probabilities(loaded, "eye"), eye, atol=1e-6)
    fixed = type(segmenter).from_preset(tmp_path / "preset", image_shape=(64, 64, 3))
    assert fixed.preprocessor.image_converter.image_sizes == {}
    assert fixed.segment(IMAGE, "eye")["masks"].shape == (50, 40)


def test_converters_without_sizes_are_saved_as_in_0_1_0():
    converter = kem.models.ESPMedSAMImageConverter(image_size=(32, 32))
    assert "image_sizes" not in converter.get_config()
    assert converter.for_modality("eye") is converter
    converter.image_sizes = {"eye": [64, 64]}
    # As an exported model of several modalities, which has one size.
    same = converter.at_size((96, 96))
    assert (same.image_size, same.for_modality("eye").image_size) == ((96, 96), (96, 96))
    again = kem.models.ESPMedSAMImageConverter.from_config(converter.get_config())
    assert again.for_modality("eye").image_size == (64, 64)
    again.image_size = None  # Each image keeps its own size, those of eyes, too.
    assert again.image_sizes == {} and again.for_modality("eye") is again
    assert "image_sizes" not in again.get_config()


@pytest.mark.parametrize(
    ("size", "sizes", "words"),
    [
        ((32, 32), {"eye": (30, 64)}, "multiples of 32"),
        ((32, 32), {"eye": 64}, "image_size"),
        ((32, 32), {"eye": None}, "both are"),
        (None, {"eye": (64, 64)}, "both are"),
        ((32, 32), ["eye"], "expected a dict of modality"),
        ((32, 32), {3: (64, 64)}, "expected a dict of modality"),
    ],
)
def test_sizes_that_cannot_be_used_are_told(size, sizes, words):
    with pytest.raises((InputError, ValueError), match=words):
        kem.models.ESPMedSAMImageConverter(image_size=size, image_sizes=sizes)


def test_an_unknown_modality_is_told():
    with pytest.raises(InputError, match=r"image_sizes of 'eyes'; did you mean eye\?"):
        made(image_sizes={"eyes": (64, 64)})
