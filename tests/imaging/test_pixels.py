import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.pixels import as_unit_floats, rgb_brightness, to_rgb, unit_values

# The same image of 2 x 3 pixels and one channel, in [0, 1], in every accepted kind of value.
UNIT = np.array([[0, 51, 102], [153, 204, 255]]) / 255
KINDS = {
    "uint8": (UNIT * 255).round().astype("uint8"),
    "uint16": (UNIT * 65535).round().astype("uint16"),
    "uint16, big-endian": (UNIT * 65535).round().astype(">u2"),
    "float16": UNIT.astype("float16"),
    "float32": UNIT.astype("float32"),
    "float64": UNIT,
    "float32, big-endian": UNIT.astype(">f4"),
}


@pytest.mark.parametrize("image", KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
def test_every_accepted_kind(image, channels):
    if not channels:
        expected = np.repeat(UNIT[..., None], 3, axis=-1)
    else:
        # Reversed in the second channel, so that channels are told apart; a strange last alpha.
        stack = [image, image[::-1], image[:, ::-1], image * 0][:channels]
        image = np.stack(stack, axis=-1)
        unit = [UNIT, UNIT[::-1], UNIT[:, ::-1]]
        expected = np.stack(unit if channels >= 3 else [UNIT] * 3, axis=-1)
    rgb = to_rgb(image)
    assert rgb.dtype == np.float32
    assert rgb.dtype.isnative
    tolerance = 5e-4 if image.dtype == np.float16 else 1e-5
    np.testing.assert_allclose(rgb, expected, atol=tolerance)


def test_bool_is_black_and_white():
    rgb = to_rgb(np.array([[True, False]]))
    np.testing.assert_array_equal(rgb, [[[1, 1, 1], [0, 0, 0]]])
    assert rgb.dtype == np.float32


def test_a_single_pixel_and_a_list():
    np.testing.assert_array_equal(to_rgb(np.uint16([[65535]])), np.ones((1, 1, 3)))
    np.testing.assert_array_equal(to_rgb([[0.0, 1.0]])[0, :, 0], [0, 1])


def test_a_dark_float_image_is_not_stretched():
    np.testing.assert_array_equal(
        to_rgb(np.full((2, 2), 0.25, "float32")), np.full((2, 2, 3), 0.25)
    )


def test_nan_in_a_dropped_alpha_does_not_matter():
    image = np.dstack([UNIT, UNIT, UNIT, np.full_like(UNIT, np.nan)])
    np.testing.assert_allclose(to_rgb(image)[..., 1], UNIT, atol=1e-7)


def test_the_input_is_left_as_it_was():
    image = KINDS["float32"].copy()
    to_rgb(image)[...] = 7
    np.testing.assert_array_equal(image, KINDS["float32"])


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), r"shape \(\)"),
        ((4,), r"shape \(4,\)"),
        ((2, 4, 5), "1 to 4 channels"),
        ((1, 2, 4, 3), "one image per array"),
        ((0, 4), "holds no pixel"),
        ((4, 0, 3), "holds no pixel"),
        ((4, 4, 0), "1 to 4 channels"),
    ],
)
def test_shapes_that_are_no_image(shape, message):
    with pytest.raises(InputError, match=message):
        to_rgb(np.zeros(shape, "uint8"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 2), "int8"), "dtype int8"),
        (np.zeros((2, 2), "int32"), "dtype int32"),
        (np.zeros((2, 2), "uint32"), "dtype uint32"),
        (np.zeros((2, 2), "complex64"), "dtype complex64"),
        (np.array([["a"]]), "dtype <U1"),
        (np.array([[None]]), "dtype object"),
        (np.array([[0.0, 255.0]]), r"values from 0 to 255; expected values in \[0, 1\]"),
        (np.array([[-0.5, 1.0]]), "values from -0.5 to 1"),
        (np.array([[0.5, np.nan]]), "with NaN"),
        (np.array([[0.5, np.inf]]), "with infinite values"),
    ],
)
def test_values_that_are_no_image(values, message):
    with pytest.raises(InputError, match=message):
        to_rgb(values)


def test_a_batch_of_values():
    batch = np.array([[[0, 255]], [[51, 102]]], "uint8")
    np.testing.assert_allclose(unit_values(batch), [[[0, 1]], [[0.2, 0.4]]], atol=1e-7)
    assert unit_values(np.zeros((0, 2), "float32")).shape == (0, 2)


@pytest.mark.parametrize("image", KINDS.values(), ids=KINDS)
def test_brightness_is_what_rgb_is_made_of(image):
    for one in (image, image[..., None], np.stack([image] * 3, axis=-1)):
        brightness = rgb_brightness(one)
        assert brightness.shape == (2, 3, 3 if one.shape[2:] == (3,) else 1)
        found = np.broadcast_to(as_unit_floats(brightness), (2, 3, 3))
        np.testing.assert_array_equal(found, to_rgb(one))
    assert rgb_brightness(KINDS["uint8"]).dtype == np.uint8
