"""Images in, masks at their own size out."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError, InputWarning

# Files are segmented with traces in test_tasks.py.
pytestmark = pytest.mark.usefixtures("untraced_tensorflow")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 70), dtype="uint8")
RGB = np.repeat(GREY[..., None], 3, axis=-1)


def test_one_image_gives_arrays_of_its_size(segmenter):
    result = segmenter.segment(RGB, "eye")
    assert result["masks"].shape == result["probabilities"].shape == (50, 70)
    assert result["masks"].dtype == bool
    assert result["probabilities"].dtype == np.float32
    assert 0 <= result["probabilities"].min() and result["probabilities"].max() <= 1


def test_kinds_of_one_image_agree(segmenter):
    expected = segmenter.segment(RGB, "eye")["probabilities"]
    alpha = np.full((50, 70, 1), 7, "uint8")
    for image in (
        GREY,
        GREY[..., None],
        np.concatenate([RGB, alpha], axis=-1),
        GREY.astype("uint16") * 257,
        (GREY / 255).astype("float64"),
    ):
        np.testing.assert_allclose(
            segmenter.segment(image, "eye")["probabilities"], expected, atol=1e-5
        )


def test_a_list_of_any_sizes_equals_one_by_one(segmenter):
    images = [RGB, RGB[:20, :64], np.full((1, 1), 200, "uint8"), RGB[::2]]
    modalities = ["eye", 0, "lung", "skin"]
    together = segmenter.segment(images, modalities, batch_size=3)
    for i, (image, modality) in enumerate(zip(images, modalities, strict=True)):
        alone = segmenter.segment(image, modality)["probabilities"]
        assert together["masks"][i].shape == image.shape[:2]
        np.testing.assert_allclose(together["probabilities"][i], alone, atol=1e-5)


def test_a_new_task_is_built_with_its_preprocessing(build, unbuilt_parts):
    assert unbuilt_parts(build.plain_segmenter()) == []


def test_threshold_cuts_the_probabilities(segmenter):
    result = segmenter.segment(RGB, "eye", threshold=0.3)
    np.testing.assert_array_equal(result["masks"], result["probabilities"] >= np.float32(0.3))
    assert segmenter.segment(RGB, "eye", threshold=0)["masks"].all()


def test_mirrored_images_are_averaged(segmenter):
    once = segmenter.segment([RGB, RGB[:, ::-1]], "eye")["probabilities"]
    both = segmenter.segment(RGB, "eye", mirror=True)["probabilities"]
    np.testing.assert_allclose(both, (once[0] + once[1][:, ::-1]) / 2, atol=1e-5)
    again = segmenter.segment(RGB[:, ::-1], "eye", mirror=True)["probabilities"]
    np.testing.assert_allclose(again[:, ::-1], both, atol=1e-5)
    assert np.abs(both - once[0]).max() > 1e-3


@pytest.mark.slow_on("jax", "tensorflow")  # Compiles another image size.
def test_scales_are_averaged(segmenter):
    each = [segmenter.segment(RGB, "eye", scales=one)["probabilities"] for one in (1, 1.5)]
    both = segmenter.segment(RGB, "eye", scales=(1, 1.5))["probabilities"]
    np.testing.assert_allclose(both, (each[0] + each[1]) / 2, atol=1e-5)
    assert np.abs(each[0] - each[1]).max() > 1e-3


@pytest.mark.slow_on("jax")
def test_native_size_pads_to_32_and_cuts_the_padding_off(segmenter, build):
    native = build.segmenter(segmenter.backbone, image_size=None)
    image = RGB[:32, :64]
    exact = native.segment(image, "eye")["probabilities"]
    images = native.preprocessor.image_converter(image[None])
    logits = build.run(segmenter.backbone, {"images": images, "modalities": np.array([2])})["masks"]
    np.testing.assert_allclose(exact, 1 / (1 + np.exp(-logits[0, ..., 0])), atol=1e-5)
    assert native.segment(RGB[:33, :40], "eye")["masks"].shape == (33, 40)


def test_stretch_fills_the_canvas(segmenter, build):
    stretched = build.segmenter(segmenter.backbone, resize_mode="stretch")
    pad = segmenter.preprocessor.image_converter.place((32, 64))
    fill = stretched.preprocessor.image_converter.place((32, 64))
    assert pad.inner == (32, 64) and fill.inner == (64, 64)
    assert stretched.segment(RGB, "eye")["masks"].shape == (50, 70)


def test_normalisations_are_a_property_of_the_preset(build):
    grey = np.full((1, 64, 64, 3), 128, "uint8")
    values = {
        name: build.segmenter(normalization=name).preprocessor.image_converter(grey)[0, 0, 0]
        for name in ("imagenet", "released")
    }
    mean = np.array([123.675, 116.28, 103.53])
    std = np.array([58.395, 57.12, 57.375])
    np.testing.assert_allclose(values["imagenet"], (128 - mean) / std, rtol=1e-5)
    np.testing.assert_allclose(values["released"], (128 - mean) / mean, rtol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((RGB.astype("float32"), "eye"), "expected values in"),
        ((np.full((4, 4), np.nan), "eye"), "NaN"),
        ((RGB.astype("int32"), "eye"), "dtype int32"),
        ((np.zeros((0, 5), "uint8"), "eye"), "no pixel"),
        ((np.zeros((1, 2, 8, 8, 3), "uint8"), "eye"), "one image per array"),
        ((RGB.transpose(2, 0, 1), "eye"), "channels in front"),
        ((RGB.transpose(2, 0, 1)[None], "eye"), "channels in front"),
        ((np.zeros(5, "uint8"), "eye"), r"shape \(5,\)"),
        ((RGB, "brain"), "knows skin, lung, eye"),
        ((RGB, 3), "Unknown modality 3"),
        ((RGB, -1), "Unknown modality -1"),
        ((RGB, None), "give one of skin, lung, eye"),
        (([RGB, RGB], ["eye"]), "1 modalities for 2 images"),
        ((RGB, "eye", 1.5), "threshold=1.5"),
        ((RGB, "eye", 0.5, 0), "batch_size=0"),
    ],
)
def test_bad_input_is_explained(segmenter, arguments, words):
    with pytest.raises(InputError, match=words):
        segmenter.segment(*arguments)


def test_no_images_give_no_masks(segmenter):
    result = segmenter.segment([], [])
    names = (
        *("masks", "probabilities", "modalities", "confidences", "blank"),
        *("targets", "instances", "quality", "in_scope", "scope_score"),
    )
    assert result == {name: [] for name in names}


def test_without_preprocessor_is_explained(segmenter):
    bare = type(segmenter)(segmenter.backbone)
    with pytest.raises(InputError, match="no preprocessor"):
        bare.segment(RGB, "eye")


def test_ten_bits_are_segmented_as_eight_are(segmenter):
    """What fills a part of 16 bits is stretched, and said so; what is said counts before that."""
    stretched = segmenter.segment(GREY.astype("uint16") * 4, "eye", intensity=(0, 1020))
    expected = segmenter.segment(GREY, "eye")["probabilities"]
    np.testing.assert_allclose(stretched["probabilities"], expected, atol=1e-5)
    with pytest.warns(InputWarning, match="only 10 of its 16 bits are used"):
        found = segmenter.segment(GREY.astype("uint16") * 4, "eye")["probabilities"]
    low, high = np.percentile(GREY, (0.1, 99.9))
    by_values = np.clip((GREY - low) / (high - low), 0, 1).astype("float32")
    wanted = segmenter.segment(by_values, "eye")["probabilities"]
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    dark = segmenter.segment(GREY.astype("uint16") * 4, "eye", intensity="full")
    by_bits = segmenter.segment((GREY * (4 / 65535)).astype("float32"), "eye")
    np.testing.assert_allclose(dark["probabilities"], by_bits["probabilities"], atol=1e-5)


def test_what_the_converter_says_counts_unless_another_is_said(segmenter):
    converter = segmenter.preprocessor.image_converter
    converter.intensity = (0.0, 1020.0)
    try:
        assert segmenter.intensity == (0.0, 1020.0)
        found = segmenter.segment(GREY.astype("uint16") * 4, "eye")["probabilities"]
        expected = segmenter.segment(GREY, "eye", intensity="full")["probabilities"]
    finally:
        converter.intensity = "auto"
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("intensity", ["half", (3, 1), (0, 1, 2), 7])
def test_what_is_no_intensity(segmenter, intensity):
    with pytest.raises(InputError, match="expected 'auto', 'full' or LOW:HIGH"):
        segmenter.segment(GREY, "eye", intensity=intensity)


def test_images_of_one_brightness_are_flagged(segmenter):
    with pytest.warns(InputWarning, match=r"images\[1\] have nearly the same brightness"):
        found = segmenter.segment([GREY, np.full((20, 30), 90, "uint8")], "eye")
    assert found["blank"] == [False, True]
    with pytest.warns(InputWarning, match="The image has nearly the same brightness"):
        assert segmenter.segment(np.zeros((20, 30)), "eye")["blank"]


def test_brightness_is_not_taken_for_stored_values(segmenter):
    """What a reader of files gives is in [0, 1], whatever the preset says of stored values."""
    converter = segmenter.preprocessor.image_converter
    unit = (GREY / 255).astype("float32")
    expected = segmenter.segment(unit, "eye")["probabilities"]
    converter.intensity = (0.0, 4095.0)
    try:
        found = segmenter.segment(unit, "eye")["probabilities"]
        counts = segmenter.segment(np.round(unit * 4095).astype("uint16"), "eye")["probabilities"]
        said = segmenter.segment(unit * 10, "eye", intensity=(0, 10))["probabilities"]
    finally:
        converter.intensity = "auto"
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(counts, expected, atol=1e-2)
    np.testing.assert_allclose(said, expected, atol=1e-5)


@pytest.mark.parametrize("threshold", [None, "0.5", np.array([0.2, 0.5]), 1.5])
def test_what_is_no_threshold(segmenter, threshold):
    with pytest.raises(InputError, match="expected a number from 0 to 1"):
        segmenter.segment(GREY, "eye", threshold=threshold)


@pytest.mark.parametrize("batch_size", [None, 2.5, "3", 0])
def test_what_is_no_batch_size(segmenter, batch_size):
    with pytest.raises(InputError, match="expected an integer of 1 or more"):
        segmenter.segment(GREY, "eye", batch_size=batch_size)


def test_a_model_of_one_modality_refuses_the_name_of_another(segmenter):
    eye = segmenter.specialize("eye")
    x = {"images": RGB[None], "modalities": ["eye"]}
    eye.prepare_batch(x)
    eye.prepare_batch({**x, "modalities": np.array([2])})  # a number of the model of several
    with pytest.raises(InputError, match="Unknown modality 'lung'; this model knows eye"):
        eye.prepare_batch({**x, "modalities": ["lung"]})
