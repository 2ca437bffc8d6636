"""Several targets in any image, with a model that anyone can follow; see tests/models, too."""

import numpy as np
import pytest

from keras_espmedsam.data import Targets
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.image_segmentation import SegmentsImages
from keras_espmedsam.models import ESPMedSAMImageConverter

SIZE = (32, 32)


class Colours(SegmentsImages):
    """The probability of a target is one of the image's colours; of a hidden channel it is 0."""

    modalities = ("eye", "lung", "slide")
    target_set = Targets(
        {"eye": ("red", "green", "blue"), "lung": ("red", "grey"), "slide": ("nuclei",)},
        exclusive={"lung": [("red", "grey")]},
        nested={"eye": {"blue": "green"}},
        instances={"slide": {"nuclei": "boundary"}},
    )
    postprocessing = {"slide": {"nuclei": {"min_area": 2}}}

    def __init__(self, image_size=SIZE):
        self.image_converter = ESPMedSAMImageConverter(image_size=image_size)
        self.batches = []

    def predict_probabilities(self, images, indices):
        self.batches.append(len(images))
        # The converter's numbers depend on its normalisation; black is lowest and white highest.
        low, high = (self.image_converter.convert(np.full((*SIZE, 3), one, "uint8"))[0, 0]
                     for one in (0, 255))  # fmt: skip
        unit = np.clip((images - low) / (high - low), 0, 1).astype("float32")
        found = np.zeros((*images.shape[:3], self.target_set.num_channels), "float32")
        for row, image, index in zip(found, unit, indices, strict=True):
            own = len(self.target_set.of(self.modalities[index]))
            row[..., :own] = image[..., :own]
            if self.modalities[index] == "eye":
                row[..., 2] = np.minimum(row[..., 2], row[..., 1])
        return found


def squares(*colours, size=SIZE):
    """Squares of colours on black, from left to right."""
    image = np.zeros((*size, 3), "uint8")
    for number, colour in enumerate(colours):
        image[8:16, 2 + 8 * number : 8 + 8 * number] = colour
    return image


def noise(*size):
    """Coarse enough to be left over where an image is made smaller."""
    values = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype="uint8")
    return values.repeat(10, 0).repeat(10, 1)


def areas(masks):
    return masks.sum((0, 1)).tolist()


@pytest.fixture
def model():
    return Colours()


def test_each_target_has_its_channel(model):
    image = squares((255, 0, 0), (0, 255, 0), (0, 255, 255))
    result = model.segment(image, "eye")
    assert result["targets"] == ("red", "green", "blue") and result["instances"] == {}
    assert result["masks"].shape == result["probabilities"].shape == (32, 32, 3)
    assert result["masks"].dtype == bool and result["probabilities"].dtype == np.float32
    np.testing.assert_array_equal(result["masks"], image >= 128)
    np.testing.assert_allclose(result["probabilities"], image / 255, atol=1e-6)


def test_modalities_have_their_own_targets_in_one_batch(model):
    image = squares((255, 0, 0), (0, 200, 0))
    images = [image, image[:20], image]
    result = model.segment(images, ["eye", "lung", "slide"], batch_size=2)
    assert result["targets"] == [("red", "green", "blue"), ("red", "grey"), ("nuclei",)]
    assert [mask.shape for mask in result["masks"]] == [(32, 32, 3), (20, 32, 2), (32, 32)]
    assert [sorted(one) for one in result["instances"]] == [[], [], ["nuclei"]]
    assert result["instances"][2]["nuclei"].dtype == np.int32
    assert result["instances"][2]["nuclei"].max() == 1
    for number, (one, name) in enumerate(zip(images, ["eye", "lung", "slide"], strict=True)):
        alone = model.segment(one, name)
        np.testing.assert_array_equal(result["masks"][number], alone["masks"])
        assert alone["targets"] == result["targets"][number]


def test_no_image_has_all_the_keys(model):
    result = model.segment([], [])
    assert set(result) == set(model.segment(squares((255, 0, 0)), "eye"))
    assert not any(result.values()) and not any(model.segment([], [], targets="red").values())


def test_only_some_targets(model):
    image = squares((255, 0, 0), (0, 255, 0), (0, 255, 255))
    every = model.segment(image, "eye")
    some = model.segment(image, "eye", targets=["blue", "red"])
    assert some["targets"] == ("blue", "red")
    np.testing.assert_array_equal(some["masks"], every["masks"][..., [2, 0]])
    np.testing.assert_array_equal(some["probabilities"], every["probabilities"][..., [2, 0]])
    mixed = model.segment([image, image], ["eye", "lung"], targets=("grey", "red"))
    assert mixed["targets"] == [("red",), ("grey", "red")]


def test_one_target_has_an_axis_only_in_a_list(model):
    image = squares((255, 0, 0), (0, 255, 0), (0, 255, 255))
    every = model.segment(image, "eye")
    for key in ("masks", "probabilities"):
        for targets, shape in (("blue", (32, 32)), (["blue"], (32, 32, 1))):
            found = model.segment(image, "eye", targets=targets)[key]
            assert found.shape == shape
            np.testing.assert_array_equal(found.reshape(32, 32), every[key][..., 2])
        alone = model.segment(image, "slide")[key]
        assert alone.shape == (32, 32)
        of_list = model.segment(image, "slide", targets=["nuclei"])[key]
        np.testing.assert_array_equal(of_list[..., 0], alone)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"targets": "grey"}, r"'grey', which belongs to lung; expected one of red, green, blue"),
        ({"targets": ["red", "nuclei"]}, "'nuclei', which belongs to slide"),
        ({"targets": "gren"}, r"'gren'; did you mean green or grey\?"),
        ({"targets": "nuclei:boundary"}, "Received the target 'nuclei:boundary'"),
        ({"targets": []}, "expected one or more names"),
        ({"threshold": {"gray": 0.5}}, r"threshold of 'gray'; did you mean grey\?"),
        ({"threshold": {"red": 2}}, "threshold=2 of red"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_segmented(model, arguments, words):
    with pytest.raises(InputError, match=words):
        model.segment(squares(), "eye", **arguments)
    assert model.batches == []


def test_a_threshold_for_each_target(model):
    image = squares((100, 100, 0), (200, 200, 0))
    assert areas(model.segment(image, "eye")["masks"]) == [48, 48, 0]
    result = model.segment(image, "eye", threshold={"green": 0.3})
    assert areas(result["masks"]) == [48, 96, 0]
    assert areas(model.segment(image, "eye", threshold=0.3)["masks"]) == [96, 96, 0]


@pytest.mark.parametrize("threshold", [0, 0.2, 0.5, {"red": 0.7, "grey": 0.1}])
@pytest.mark.parametrize("size", [(3, 3), (5, 7), (20, 4)])
def test_exclusive_masks_never_overlap(model, threshold, size):
    image = noise(*size)
    masks = model.segment(image, "lung", threshold, mirror=True)["masks"]
    assert masks[..., 0].any() and masks[..., 1].any() and not masks.all(-1).any()
    assert threshold != 0 or masks.any(-1).all()


@pytest.mark.parametrize("size", [(3, 3), (5, 7), (20, 4)])
def test_nested_masks_stay_nested(model, size):
    image = noise(*size)
    for threshold in (0.5, {"blue": 0.1, "green": 0.6}):
        result = model.segment(image, "eye", threshold, mirror=True)
        blue, green = (result["masks"][..., k] for k in (2, 1))
        assert blue.any() and not (blue & ~green).any()
        assert (result["probabilities"][..., 2] <= result["probabilities"][..., 1]).all()


def test_mirrored_images_are_averaged_in_every_channel(model):
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype="uint8")
    model.predict_probabilities = lambda images, indices: (
        Colours.predict_probabilities(model, images, indices)
        * np.linspace(0, 1, images.shape[2], dtype="float32")[:, None]
    )
    once = model.segment([image, image[:, ::-1]], "eye")["probabilities"]
    both = model.segment(image, "eye", mirror=True)["probabilities"]
    np.testing.assert_allclose(both, (once[0] + once[1][:, ::-1]) / 2, atol=1e-6)
    assert np.abs(both - once[0]).max() > 0.1


def test_postprocessing_of_the_preset_can_be_left_out(model):
    image = squares((255, 255, 255))
    image[24, 24] = 255
    result = model.segment(image, "slide")
    assert areas(result["masks"]) == 48 and result["instances"]["nuclei"].max() == 1
    assert result["probabilities"][24, 24] == 1
    raw = model.segment(image, "slide", postprocess=False)
    assert areas(raw["masks"]) == 49 and raw["instances"]["nuclei"].max() == 2


def test_auto_gives_the_targets_of_the_recognised_modality(model):
    class Recognizer:
        class_names, min_confidence = ("lung", "eye"), 0.5

        def classify(self, images, batch_size=32):
            return {"probabilities": [[0.9, 0.1] for _ in images]}

    result = model.segment(squares((255, 0, 0)), "auto", recognizer=Recognizer())
    assert (result["modalities"], result["targets"]) == ("lung", ("red", "grey"))
    with pytest.raises(InputError, match="'blue', which belongs to eye"):
        model.segment(squares(), "auto", recognizer=Recognizer(), targets="blue")


def test_native_sizes_and_damaged_outputs(model):
    native = Colours(image_size=None)
    image = squares((255, 0, 0), size=(33, 40))
    result = native.segment(image, "eye")
    np.testing.assert_array_equal(result["masks"], image >= 128)
    for values, words in (
        (np.full((1, *SIZE, 3), np.nan, "float32"), "NaN or infinite"),
        (np.zeros((1, *SIZE), "float32"), r"shape \(1, 32, 32\); expected 3 channels"),
        (np.zeros((1, *SIZE, 2), "float32"), "expected 3 channels"),
    ):
        model.predict_probabilities = lambda *_, values=values: values
        with pytest.raises(InputError, match=words):
            model.segment(squares(), "eye")


def test_one_named_target_has_the_arrays_of_one():
    class One(Colours):
        modalities = ("slide",)
        target_set = Targets({"slide": ("nuclei",)}, instances={"slide": {"nuclei": "components"}})

        def predict_probabilities(self, images, indices):
            return (images[..., 0] > 0).astype("float32")

    image = squares((255, 255, 255), (0, 0, 0), (255, 255, 255))
    image[24, 24] = 255
    result = One().segment(image)
    assert result["masks"].shape == result["probabilities"].shape == (32, 32)
    assert result["masks"].sum() == 96 and result["targets"] == ("nuclei",)
    assert sorted(np.unique(result["instances"]["nuclei"])) == [0, 1, 2]
    assert One().segment(image, postprocess=False, threshold={"nuclei": 0.4})["masks"].sum() == 97
