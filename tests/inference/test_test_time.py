"""Probabilities averaged over mirrored images and sizes."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.inference import segment_files
from keras_espmedsam.inference.image_segmentation import SegmentsImages
from keras_espmedsam.inference.test_time import checked_scales, scaled_converters

# White images are blank.
pytestmark = pytest.mark.filterwarnings("ignore::keras_espmedsam.errors.InputWarning")


@dataclasses.dataclass(frozen=True)
class Converter:
    """As much of an image converter as `segment` needs, without Keras."""

    image_size: tuple | None = (64, 64)
    size_multiple = 32

    def at_size(self, image_size):
        return Converter(image_size)

    def place(self, size):
        return Placement.of(size, self.image_size)

    def read(self, image, intensity=None):
        return np.repeat(image[..., None] / np.float32(255), 3, axis=-1)

    def convert(self, image):
        return self.place(image.shape[:2]).forward(image)


class Sized(SegmentsImages):
    """The probability is the brightness, times the side of the canvas in units of 128 pixels."""

    modalities = ("eye",)
    takes_any_size = True

    def __init__(self, image_size=(64, 64)):
        self.image_converter = Converter(image_size)
        self.sides = []

    def predict_probabilities(self, images, indices):
        self.sides.append(images.shape[1])
        return images[..., 0] * np.float32(images.shape[1] / 128)


WHITE = np.full((64, 64), 255, "uint8")


class Judging(Sized):
    """Says that images are the less in scope, the larger and the brighter to the left they are."""

    scope = ("eye",)

    def predict_outputs(self, images, indices):
        scores = images[:, 0, 0, 0] * images.shape[1] / 64
        return {"probabilities": self.predict_probabilities(images, indices), "scope_score": scores}


def test_the_scope_is_told_at_the_own_size_alone():
    left = WHITE.copy()
    left[:, 32:] = 0
    model = Judging()
    assert model.segment(left, scales=(0.5, 1, 1.5))["scope_score"] == 1
    assert model.segment(left, scales=(0.5, 1), mirror=True)["scope_score"] == 0.5
    found = model.segment(left, scales=(0.5, 1.5))
    assert found["scope_score"] is None and found["in_scope"] is None


def test_scales_are_averaged():
    model = Sized()
    found = model.segment(WHITE, scales=(0.5, 1, 1.5))["probabilities"]
    assert model.sides == [32, 64, 96]
    np.testing.assert_allclose(found, (32 + 64 + 96) / 3 / 128, atol=1e-6)


def test_each_size_sees_the_mirrored_image_too():
    image = np.random.default_rng(0).integers(0, 256, (40, 64), dtype="uint8")
    model = Sized()
    alone = [
        model.segment(one, scales=scale)["probabilities"]
        for scale in (1, 1.5)
        for one in (image, image[:, ::-1])
    ]
    model.sides.clear()
    both = model.segment([image, image], scales=(1, 1.5), mirror=True)
    assert model.sides == [64, 64, 96, 96]
    expected = np.mean([alone[0], alone[1][:, ::-1], alone[2], alone[3][:, ::-1]], axis=0)
    for found, mask in zip(both["probabilities"], both["masks"], strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)
        np.testing.assert_array_equal(mask, found >= 0.5)


def test_areas_are_those_of_the_models_image_size():
    model = Sized()
    model.postprocessing = {"eye": {"mask": {"min_area": 60}}}
    image = np.zeros((64, 64), "uint8")
    image[:8, :8] = 255  # 64 pixels at the model's size, 16 at half of it.
    assert model.segment(image, scales=0.5, threshold=0.1)["masks"].any()
    model.postprocessing = {"eye": {"mask": {"min_area": 200}}}
    assert not model.segment(image, scales=0.5, threshold=0.1)["masks"].any()


def test_sides_are_rounded_to_what_the_model_takes():
    (larger,) = scaled_converters(Sized(), Converter((256, 192)), (1.3,))
    assert larger.image_size == (320, 256)
    (smallest,) = scaled_converters(Sized(), Converter((32, 32)), (0.25,))
    assert smallest.image_size == (32, 32)


@pytest.mark.parametrize("scales", [0, 5, -1, True, "1", (), (1, 1.0), (1, None), np.nan, {1: 2}])
def test_what_are_no_scales(scales):
    with pytest.raises(InputError, match=r"scales=.*expected a number from 0.25 to 4"):
        checked_scales(scales)


@pytest.mark.parametrize(
    ("image_size", "changes", "options", "message"),
    [
        (None, {}, {"scales": 2}, "segments images at their own size"),
        ((64, 64), {"takes_any_size": False}, {"scales": 2}, "always 64 x 64 pixels"),
        ((64, 64), {}, {"scales": (1, 1.1)}, "1 and 1.1, which both are 64 x 64 pixels"),
        ((64, 64), {}, {"scales": 2, "guarantee": "dice"}, "guarantee with scales"),
    ],
)
def test_what_a_model_cannot_do_is_said_first(image_size, changes, options, message, tmp_path):
    model = Sized(image_size)
    vars(model).update(changes)
    with pytest.raises(InputError, match=message):
        model.segment(WHITE, **options)
    with pytest.raises(InputError, match=message):
        segment_files(model, tmp_path, **options)
    assert not model.sides
    assert model.segment(WHITE, scales=1)["masks"].all()  # A scale of 1 changes nothing.


def test_files_are_segmented_at_these_scales(tmp_path):
    Image.fromarray(WHITE).save(tmp_path / "eye.png")
    (result,) = segment_files(Sized(), tmp_path, scales=(0.5, 1))
    np.testing.assert_allclose(result.probabilities, 48 / 128, atol=1e-3)
