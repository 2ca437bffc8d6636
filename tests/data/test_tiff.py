import numpy as np
import pytest
from PIL import Image

from keras_espmedsam import _extras as extras
from keras_espmedsam.data import Record, read_picture, read_pictures, read_samples
from keras_espmedsam.errors import InputError

tifffile = pytest.importorskip("tifffile", reason="needs the extra medical")

RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000


@pytest.fixture
def write(tmp_path):
    def write_tiff(array, **options):
        path = tmp_path / "scan.tif"
        tifffile.imwrite(path, array, **options)
        return path

    return write_tiff


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_16_bit_grey_keeps_its_range(write, options):
    picture = read_picture(write(RAMP, **options))
    assert picture.array.dtype == np.uint16
    np.testing.assert_array_equal(picture.array, RAMP)


def test_16_bit_rgb_and_alpha(write):
    rgba = np.stack([RAMP, RAMP + 1, RAMP + 2, RAMP * 0], axis=-1)
    path = write(rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_picture(path).array, rgba[..., :3])


def test_planes_stored_apart(write):
    planes = np.stack([RAMP, RAMP + 1, RAMP + 2])
    path = write(planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_picture(path).array, np.moveaxis(planes, 0, -1))


def test_white_is_zero_is_inverted(write):
    path = write(RAMP, photometric="miniswhite")
    np.testing.assert_array_equal(read_picture(path).array, 65535 - RAMP)


def test_pages_are_pictures_and_previews_are_not(tmp_path):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RAMP)
        tiff.write(RAMP + 1)
        tiff.write(RAMP[:2, :3], subfiletype=1)
    pictures = list(read_pictures(path))
    assert [(p.index, p.count) for p in pictures] == [(0, 2), (1, 2)]
    np.testing.assert_array_equal(pictures[1].array, RAMP + 1)


def test_lzw_is_read_without_imagecodecs(tmp_path):
    path = tmp_path / "lzw.tif"
    Image.fromarray(RAMP).save(path, compression="tiff_lzw")
    np.testing.assert_array_equal(read_picture(path).array, RAMP)


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "palette.tif")
    assert read_picture(tmp_path / "palette.tif").array.tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_orientation(write):
    path = write(RAMP, extratags=[(274, "H", 1, 6, True)])
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.array, np.rot90(RAMP, -1))
    np.testing.assert_array_equal(picture.layout.undo(picture.array), RAMP)


def test_floating_point_between_0_and_1(write):
    unit = (RAMP / RAMP.max()).astype(np.float32)
    np.testing.assert_array_equal(read_picture(write(unit)).array, unit)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([[0, np.nan]], np.float32), "NaN"),
        (np.array([[0, np.inf]], np.float32), "inf"),
        (np.array([[0, 900]], np.float32), "0 to 900"),
        (np.array([[0, 900]], np.complex64), "complex64"),
    ],
)
def test_values_that_cannot_be_used(write, array, message):
    path = write(array)
    with pytest.raises(InputError, match=message) as caught:
        read_picture(path)
    assert str(path) in str(caught.value)


def test_many_channels_are_refused(write):
    with pytest.raises(InputError, match="5 channels"):
        read_picture(write(np.zeros((4, 6, 5), np.uint8), planarconfig="contig"))


def test_pixel_limit(write):
    with pytest.raises(InputError, match="24 pixels; the limit is 23"):
        read_picture(write(RAMP), max_pixels=23)


def test_the_error_names_the_extra(write, monkeypatch):
    path = write(RAMP)

    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r'pip install "keras-espmedsam\[medical\]"'):
        read_picture(path)


def test_16_bit_pages_with_a_16_bit_mask(write, tmp_path):
    pages = np.stack([RAMP, RAMP + 1])
    masks = np.where(pages > 20_000, 65535, 0).astype("uint16")
    image = write(pages, photometric="minisblack")
    mask = tmp_path / "mask.tif"
    tifffile.imwrite(mask, masks, photometric="minisblack")
    for k, (picture, one) in enumerate(read_samples(Record("train", "ct", "a", image, mask))):
        assert picture.array.dtype == np.uint16
        np.testing.assert_array_equal(picture.array, pages[k])
        np.testing.assert_array_equal(one, pages[k] > 20_000)
