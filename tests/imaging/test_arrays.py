from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageFilter

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging import arrays, bands
from keras_espmedsam.imaging.arrays import as_array, pillow_to_array

# Smooth, so that what other colour spaces cannot hold is no part of it.
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8)
RGB = np.asarray(Image.fromarray(NOISE).filter(ImageFilter.GaussianBlur(3)))
IMAGE = Image.fromarray(RGB)
GREY = np.asarray(IMAGE.convert("L"))


def in_lab():
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(IMAGE, *profiles, outputMode="LAB")


@pytest.mark.parametrize(
    ("image", "expected", "tolerance"),
    [
        (IMAGE, RGB, 0),
        (IMAGE.convert("L"), GREY, 0),
        (IMAGE.convert("RGBA"), RGB, 0),
        (IMAGE.convert("LA"), GREY, 0),
        (IMAGE.convert("RGBA").convert("RGBa"), RGB, 0),
        (IMAGE.convert("LA").convert("La"), GREY, 0),
        (IMAGE.convert("RGBX"), RGB, 0),
        (IMAGE.convert("CMYK"), RGB, 0),
        (IMAGE.convert("YCbCr"), RGB, 3),
        (IMAGE.convert("HSV"), RGB, 5),
        (in_lab(), RGB, 4),
        (IMAGE.convert("L").convert("P"), np.repeat(GREY[..., None], 3, -1), 0),
        (IMAGE.quantize(256), RGB, 16),
        (IMAGE.quantize(256).convert("PA"), RGB, 16),
        (IMAGE.convert("L").point(lambda v: 255 * (v > 127), "1"), 255 * (GREY > 127), 0),
        (Image.fromarray(GREY.astype("uint16") * 257), GREY * 257.0, 0),
        (Image.fromarray(GREY.astype("int32") * 257), GREY * 257.0, 0),
        (Image.fromarray(GREY.astype("int32") - 300), GREY - 300.0, 0),
        (Image.fromarray(GREY.astype("float32") / 255), GREY / 255, 1e-7),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else "",
)
def test_pillow_images_of_every_mode(image, expected, tolerance):
    np.testing.assert_allclose(as_array(image).astype(float), expected, atol=tolerance)


@pytest.mark.parametrize("mode", ["I;16", "I;16L", "I;16B"])
def test_16_bit_pillow_images_of_any_byte_order(mode):
    values = np.arange(600, dtype="uint16") * 100
    stored = values.astype(">u2" if mode == "I;16B" else "<u2").tobytes()
    array = pillow_to_array(Image.frombytes(mode, (30, 20), stored))
    assert array.dtype == np.uint16
    np.testing.assert_array_equal(array.ravel(), values)


def test_a_transparent_palette_colour_keeps_its_colour():
    image = IMAGE.quantize(16)
    opaque = as_array(image)
    image.info["transparency"] = 3
    np.testing.assert_array_equal(as_array(image), opaque)


def test_arrays_are_not_copied():
    array = np.zeros((4, 5), "uint16")
    assert np.shares_memory(as_array(array), array)


@pytest.mark.parametrize(
    "image",
    [
        RGB.tolist(),
        tuple(map(tuple, RGB.tolist())),
        memoryview(RGB),
        np.asfortranarray(RGB),
        RGB[::-1][::-1],
        RGB.astype(">u2"),
        np.ma.array(RGB, mask=False),
        np.ma.array(RGB, mask=np.zeros_like(RGB, bool)),
        RGB.view(type("Subclass", (np.ndarray,), {})),
        type("Holder", (), {"__array__": lambda self, dtype=None, copy=None: RGB})(),
        type("Holder", (), {"__array_interface__": RGB.__array_interface__})(),
    ],
)
def test_whatever_holds_an_array(image):
    array = as_array(image)
    assert type(array) is np.ndarray
    np.testing.assert_array_equal(array, RGB)


def test_a_matrix_is_an_image_like_any_other():
    """Indexed with a new axis, a matrix stays one of two dimensions."""
    array = as_array(np.asmatrix(GREY))
    assert array[..., None].shape == (24, 32, 1)


@pytest.mark.parametrize("name", ["bfloat16", "float8_e4m3fn", "float8_e5m2", "float16"])
def test_small_floats_of_numpy(name):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="comes with TensorFlow and JAX")
    values = np.array([[0, 0.25, 0.5, 1]])
    dtype = np.float16 if name == "float16" else getattr(ml_dtypes, name)
    array = as_array(values.astype(dtype))
    assert array.dtype in (np.float32, np.float16)
    np.testing.assert_array_equal(array.astype(float), values)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ([[1, 2], [3]], "type list that is not an array of numbers"),
        (None, "type NoneType that is not an array"),
        ({"image": RGB}, "type dict that is not an array"),
        ((row for row in RGB), "type generator that is not an array"),
        ("a.png", "'a.png' instead of an image; read the file first"),
        (Path("a.png"), "'a.png' instead of an image; read the file first"),
        (b"\x89PNG", "instead of an image; read the file first"),
        (np.ma.array(GREY, mask=GREY > 99), r"masked values.*image.filled\(value\)"),
        (np.ma.array([[0.5, np.nan]], mask=[[False, True]]), "masked values"),
    ],
)
def test_what_is_no_array(image, message):
    with pytest.raises(InputError, match=message) as error:
        as_array(image)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    "mode",
    "1 L P PA LA La RGB RGBA RGBa RGBX CMYK YCbCr HSV LAB I F I;16 I;16B".split(),
)
def test_a_large_pillow_image_is_read_in_bands_to_the_same_bits(monkeypatch, mode):
    if mode == "LAB":
        image = in_lab()
    elif mode in ("La", "RGBa"):
        image = IMAGE.convert("LA" if mode == "La" else "RGBA").convert(mode)
    elif mode == "P":
        image = IMAGE.quantize(16)
        image.info["transparency"] = 3
    elif mode == "PA":
        image = IMAGE.quantize(256).convert("PA")
    elif mode == "I":
        image = Image.fromarray(GREY.astype("int32") * 1000 - 300)
    elif mode.startswith("I;16"):
        stored = (GREY.astype("uint16") * 257).astype(">u2" if mode == "I;16B" else "<u2")
        image = Image.frombytes(mode, (32, 24), stored.tobytes())
    else:
        image = IMAGE.convert("L" if mode in ("F", "1") else "RGB").convert(mode)
    expected = pillow_to_array(image)
    for module in (arrays, bands):
        monkeypatch.setattr(module, "BAND_VALUES", 100)
    found = pillow_to_array(image)
    assert found.dtype == expected.dtype
    assert found.flags.owndata
    assert found.flags.writeable
    np.testing.assert_array_equal(found, expected)
