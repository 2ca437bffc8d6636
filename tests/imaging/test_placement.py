import numpy as np
import pytest

from keras_espmedsam.imaging import arrays, bands, placement
from keras_espmedsam.imaging.placement import Placement, resize


def _resize_axis(x, size, axis):
    """Triangles at half-pixel centres, as wide as the step when shrinking; borders cut."""
    old = x.shape[axis]
    step = old / size
    centres = (np.arange(size) + 0.5) * step
    distance = np.abs(np.arange(old)[None] + 0.5 - centres[:, None]) / max(step, 1)
    weights = np.maximum(1 - distance, 0)
    weights /= weights.sum(1, keepdims=True)
    return np.moveaxis(np.tensordot(weights, x, (1, axis)), 0, axis)


def _resize(x, height, width):
    return _resize_axis(_resize_axis(x.astype("float64"), height, 0), width, 1)


@pytest.mark.parametrize("size", [(3, 4), (6, 12), (13, 7), (1, 1), (40, 5)])
@pytest.mark.parametrize("channels", [(), (3,)])
def test_resize_equals_numpy(size, channels):
    image = np.random.default_rng(0).random((8, 10, *channels), "float32")
    out = resize(image, *size)
    assert out.shape == (*size, *channels)
    assert out.dtype == np.float32
    np.testing.assert_allclose(out, _resize(image, *size), atol=2e-6)


@pytest.mark.parametrize(
    ("size", "image_size", "mode", "inner", "canvas"),
    [
        ((288, 384), (256, 256), "pad", (192, 256), (256, 256)),
        ((384, 288), (256, 256), "pad", (256, 192), (256, 256)),
        ((100, 100), (64, 96), "pad", (64, 64), (64, 96)),
        ((10, 10), (64, 64), "pad", (64, 64), (64, 64)),
        ((64, 96), (64, 96), "pad", (64, 96), (64, 96)),
        ((288, 384), (256, 256), "stretch", (256, 256), (256, 256)),
        ((1, 1), (64, 64), "pad", (64, 64), (64, 64)),
        # So thin that its share of the canvas rounds to nothing: a row is kept.
        ((1, 1000), (64, 64), "pad", (1, 64), (64, 64)),
        ((1000, 1), (64, 64), "pad", (64, 1), (64, 64)),
        ((1, 1000), (64, 64), "stretch", (64, 64), (64, 64)),
        ((33, 64), None, "pad", (33, 64), (64, 64)),
        ((32, 32), None, "pad", (32, 32), (32, 32)),
        ((1, 1), None, "pad", (1, 1), (32, 32)),
    ],
)
def test_sizes(size, image_size, mode, inner, canvas):
    place = Placement.of(size, image_size, mode)
    assert (place.size, place.inner, place.canvas) == (size, inner, canvas)
    image = np.full((*size, 3), 0.5, "float32")
    drawn = place.forward(image, fill=0.25)
    assert drawn.shape == (*canvas, 3)
    assert drawn.dtype == np.float32
    # Where the image lies, and where it does not.
    covered = np.zeros(canvas, bool)
    covered[: inner[0], : inner[1]] = True
    np.testing.assert_allclose(drawn, np.where(covered, 0.5, 0.25)[..., None] + np.zeros(3))
    # The way back: the padding has left no trace.
    np.testing.assert_allclose(place.backward(drawn), image)
    assert place.backward(drawn[..., 0]).shape == size


def test_forward_resizes_once_and_pads_at_the_right_and_bottom():
    image = np.random.default_rng(0).random((8, 10, 3), "float32")
    drawn = Placement.of((8, 10), (32, 32)).forward(image, fill=-1)
    np.testing.assert_allclose(drawn[:26], _resize(image, 26, 32), atol=2e-6)
    assert (drawn[26:] == -1).all()


def test_without_a_canvas_size_nothing_is_resampled():
    image = np.random.default_rng(0).random((33, 40), "float32")
    place = Placement.of((33, 40))
    drawn = place.forward(image)
    np.testing.assert_array_equal(drawn[:33, :40], image)
    assert not drawn[33:].any()
    assert not drawn[:, 40:].any()
    np.testing.assert_array_equal(place.backward(drawn), image)


@pytest.mark.parametrize("mode", ["pad", "stretch"])
@pytest.mark.parametrize("size", [(24, 40), (40, 24), (100, 90)])
def test_round_trip_of_a_smooth_image(mode, size):
    y, x = np.mgrid[0 : size[0], 0 : size[1]].astype("float32")
    image = np.sin(y / size[0] * 3) + np.cos(x / size[1] * 3)
    place = Placement.of(size, (64, 64), mode)
    np.testing.assert_allclose(place.backward(place.forward(image)), image, atol=0.03)


@pytest.mark.parametrize("mode", ["pad", "stretch"])
def test_round_trip_of_a_mask(mode):
    mask = np.zeros((30, 50), bool)
    mask[5:20, 10:40] = True
    place = Placement.of(mask.shape, (96, 96), mode)
    drawn = place.forward_mask(mask)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    assert drawn.dtype == np.float32
    np.testing.assert_array_equal(place.backward(drawn) >= 0.5, mask)


def test_a_mask_lies_where_its_image_lies():
    image = np.zeros((90, 120), "float32")
    image[20:60, 30:100] = 1
    for mode in ("pad", "stretch"):
        place = Placement.of(image.shape, (64, 64), mode)
        seen = place.forward(image) >= 0.5
        np.testing.assert_array_equal(place.forward_mask(image > 0), seen)


def test_a_shrunk_mask_is_foreground_from_one_half():
    mask = np.random.default_rng(0).random((40, 60)) < 0.5
    shares = _resize(mask, 21, 32)
    drawn = Placement.of(mask.shape, (32, 32)).forward_mask(mask)
    # A share of exactly one half may round either way.
    clear = np.abs(shares - 0.5) > 1e-5
    assert clear.mean() > 0.95
    np.testing.assert_array_equal(drawn[:21][clear], (shares >= 0.5)[clear])
    assert not drawn[21:].any()


@pytest.mark.parametrize("kind", ["uint8", "uint16"])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [None, (16, 16), (20, 24)])
def test_integers_are_placed_as_the_floats_that_they_become_bit_for_bit(kind, channels, size):
    largest = np.iinfo(kind).max
    values = np.random.default_rng(0).integers(0, largest + 1, (20, 24, channels)).astype(kind)
    floats = np.repeat(values.astype("float32") / np.float32(largest), 3 // channels, axis=-1)
    fill = np.array([1, 2, 3], "float32")
    place = Placement.of((20, 24), size)
    expected = place.forward(floats * np.float32(255), fill)
    found = place.forward(values, fill, white=255)
    np.testing.assert_array_equal(np.broadcast_to(found, expected.shape), expected)


@pytest.mark.parametrize(
    "size",
    [
        *((7, 9), (40, 60), (90, 110), (30, 90), (90, 30), (30, 50), (40, 50), (29, 49)),
        *((90, 50), (30, 90), (1, 1), (31, 1), (1, 300), (300, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["uint8", "float32"])
def test_a_large_image_is_resized_in_bands_to_the_same_bits(monkeypatch, size, kind):
    values = np.random.default_rng(0).integers(0, 256, (30, 50, 3)).astype("uint8")
    if kind == "float32":
        values = values / np.float32(255)
    for image in (values, values[..., 1], values[:, ::-1], values[::-1, :, 0]):
        expected = resize(image, *size, white=255)
        with monkeypatch.context() as patch:
            for module in (arrays, bands, placement):
                patch.setattr(module, "BAND_VALUES", 200)
            found = resize(image, *size, white=255)
        assert found.dtype == expected.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
