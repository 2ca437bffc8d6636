import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam import _startup as extras
from keras_espmedsam.data import Record, read_image, read_images, read_samples
from keras_espmedsam.data.layout import Layout
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
    image = read_image(write(RAMP, **options))
    assert image.array.dtype == np.uint16
    np.testing.assert_array_equal(image.array, RAMP)


def test_16_bit_rgb_and_alpha(write):
    rgba = np.stack([RAMP, RAMP + 1, RAMP + 2, RAMP * 0], axis=-1)
    path = write(rgba, photometric="rgb", extrasamples=["unassalpha"])
    np.testing.assert_array_equal(read_image(path).array, rgba[..., :3])


def test_planes_stored_apart(write):
    planes = np.stack([RAMP, RAMP + 1, RAMP + 2])
    path = write(planes, photometric="rgb", planarconfig="separate")
    np.testing.assert_array_equal(read_image(path).array, np.moveaxis(planes, 0, -1))


def test_white_is_zero_is_inverted(write):
    path = write(RAMP, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(path).array, 65535 - RAMP)


def test_pages_are_images_and_previews_are_not(tmp_path):
    path = tmp_path / "pages.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(RAMP)
        tiff.write(RAMP + 1)
        tiff.write(RAMP[:2, :3], subfiletype=1)
    images = list(read_images(path))
    assert [(p.index, p.count) for p in images] == [(0, 2), (1, 2)]
    np.testing.assert_array_equal(images[1].array, RAMP + 1)


def test_lzw_is_read_without_imagecodecs(tmp_path):
    path = tmp_path / "lzw.tif"
    Image.fromarray(RAMP).save(path, compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(path).array, RAMP)


def test_palette(tmp_path):
    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.save(tmp_path / "palette.tif")
    assert read_image(tmp_path / "palette.tif").array.tolist() == [[[255, 0, 0], [0, 0, 255]]]


def test_orientation(write):
    path = write(RAMP, extratags=[(274, "H", 1, 6, True)])
    image = read_image(path)
    np.testing.assert_array_equal(image.array, np.rot90(RAMP, -1))
    np.testing.assert_array_equal(image.layout.undo(image.array), RAMP)


def test_floating_point_between_0_and_1(write):
    unit = (RAMP / RAMP.max()).astype(np.float32)
    np.testing.assert_array_equal(read_image(write(unit)).array, unit)


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
        read_image(path)
    assert str(path) in str(caught.value)


def test_many_channels_are_refused(write):
    with pytest.raises(InputError, match="5 channels"):
        read_image(write(np.zeros((4, 6, 5), np.uint8), planarconfig="contig"))


def test_the_error_names_the_extra(write, monkeypatch):
    path = write(RAMP)

    found = extras.importlib.import_module

    def missing(name):
        if name == "tifffile":
            raise ImportError(name)
        return found(name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(InputError, match=r'pip install "keras-espmedsam\[medical\]"'):
        read_image(path)


def test_16_bit_pages_with_a_16_bit_mask(write, tmp_path):
    pages = np.stack([RAMP, RAMP + 1])
    masks = np.where(pages > 20_000, 65535, 0).astype("uint16")
    image = write(pages, photometric="minisblack")
    mask = tmp_path / "mask.tif"
    tifffile.imwrite(mask, masks, photometric="minisblack")
    for k, (read, one) in enumerate(read_samples(Record("train", "ct", "a", image, mask))):
        assert read.array.dtype == np.uint16
        np.testing.assert_array_equal(read.array, pages[k])
        np.testing.assert_array_equal(one, pages[k] > 20_000)


# === Black and white ===

DEEP = np.linspace(0, 65535, 24).round().astype(np.uint16).reshape(4, 6)
NEEDS_IMAGECODECS = ("lzw", "zstd", "jpeg2000", "png", "lerc", "jpegxl")


def unit(array):
    return array / np.iinfo(array.dtype).max if array.dtype.kind == "u" else array


@pytest.mark.parametrize("compression", [None, "zlib", "packbits", "lzma", *NEEDS_IMAGECODECS])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
@pytest.mark.parametrize("kind", ["u1", "u2", "f4", "bool"])
def test_white_is_zero_in_every_compression_and_depth(write, compression, photometric, kind):
    if compression in NEEDS_IMAGECODECS:
        pytest.importorskip("imagecodecs", reason="needs the extra medical")
    array, expected = {
        "u1": ((DEEP >> 8).astype("u1"), (DEEP >> 8) / 255),
        "u2": (DEEP, DEEP / 65535),
        "f4": ((DEEP / 65535).astype("f4"), DEEP / 65535),
        "bool": (DEEP > 30000, DEEP > 30000),
    }[kind]
    if (kind, compression) in [("f4", "jpeg2000"), ("f4", "png")] or (
        kind == "bool" and compression in ("jpeg2000", "png", "lerc", "jpegxl")
    ):
        return  # which hold no such values
    path = write(array, photometric=photometric, compression=compression)
    expected = 1 - expected if photometric == "miniswhite" else expected
    np.testing.assert_allclose(unit(read_image(path).array), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [2, 4, 10, 12, 14])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_values_of_packed_bits(write, bits, photometric):
    stored = (DEEP >> (16 - bits)).astype("u1" if bits < 8 else "u2")
    try:
        path = write(stored, bitspersample=bits, photometric=photometric)
    except NotImplementedError:
        pytest.skip("imagecodecs before 2026.3 reads them and cannot write them")
    expected = stored / (2**bits - 1)
    expected = 1 - expected if photometric == "miniswhite" else expected
    np.testing.assert_allclose(unit(read_image(path).array), expected, atol=1e-6)


def test_8_signed_bits(write):
    signed = ((DEEP >> 8).astype(int) - 128).astype(np.int8)
    np.testing.assert_allclose(read_image(write(signed)).array, (DEEP >> 8) / 255, atol=1e-6)


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4"])
def test_a_part_of_the_bits(write, dtype):
    stored = (DEEP >> 5).astype(dtype)
    with pytest.warns(match="0.1 and 99.9 percentiles"):
        array = read_image(path := write(stored)).array
    low, high = np.percentile(stored, (0.1, 99.9))
    np.testing.assert_allclose(array, np.clip((stored - low) / (high - low), 0, 1), atol=1e-6)
    said = read_image(path, intensity=(0, 2047)).array
    np.testing.assert_allclose(said, stored / 2047, atol=1e-6)
    if dtype == "u2":
        full = read_image(path, intensity="full").array
        np.testing.assert_allclose(unit(full), stored / 65535, atol=1e-6)


def test_pages_of_different_ranges_are_shown_alike(write):
    pages = np.stack([DEEP >> 4, DEEP >> 6, DEEP >> 8])
    low, high = np.percentile(pages, (0.1, 99.9))
    images = list(read_images(write(pages, photometric="minisblack")))
    np.testing.assert_allclose(
        [p.array for p in images], np.clip((pages - low) / (high - low), 0, 1), atol=1e-6
    )
    assert all("only 12 of its 16 bits" in image.notice for image in images)


# === Colours ===

SMOOTH = np.asarray(
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)).resize(
        (48, 32), Image.Resampling.BICUBIC
    )
)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("mode", ["CMYK", "P", "RGB", "L", "I;16"])
def test_pages_that_lie_on_their_side(write, mode, compression, orientation):
    """Given a path, Pillow 13 scrambles those of CMYK and palettes that are not compressed."""
    image = Image.fromarray(SMOOTH)
    options = {"photometric": "rgb" if mode == "RGB" else "minisblack"}
    if mode == "P":
        image = image.quantize(64)
        colours = np.array(image.getpalette("RGB")).reshape(-1, 3)
        colours = np.pad(colours, ((0, 256 - len(colours)), (0, 0)))
        options = {"photometric": "palette", "colormap": (colours.T * 257).astype(np.uint16)}
        expected = np.asarray(image.convert("RGB"))
        array = np.asarray(image)
    elif mode == "I;16":
        expected = array = np.asarray(image.convert("L")) * np.uint16(257)
    else:
        image = image.convert(mode)
        array = np.asarray(image)
        expected = np.asarray(image.convert("RGB" if mode == "CMYK" else mode))
        options = {"photometric": "separated"} if mode == "CMYK" else options
    tag = (274, "H", 1, orientation, True)
    path = write(array, compression=compression, extratags=[tag], **options)
    layout = Layout.from_exif(orientation)
    np.testing.assert_array_equal(read_image(path).array, layout.apply(expected))


@pytest.mark.parametrize("compression", [None, "lzw", "jpeg"])
def test_ycbcr(tmp_path, compression):
    path = tmp_path / "ycbcr.tif"
    options = {"compression": f"tiff_{compression}" if compression == "lzw" else compression}
    Image.fromarray(SMOOTH).convert("YCbCr").save(path, **(options if compression else {}))
    array = read_image(path).array.astype(int)
    assert np.abs(array - SMOOTH).mean() < (3 if compression == "jpeg" else 2)


@pytest.mark.parametrize("options", [{"bigtiff": True}, {"tile": (16, 16)}, {"byteorder": ">"}])
def test_16_bit_colours_however_they_are_stored(write, options):
    deep = SMOOTH.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(write(deep, photometric="rgb", **options)).array, deep)


def test_a_pyramid(tmp_path):
    path = tmp_path / "pyramid.tif"
    with tifffile.TiffWriter(path) as tiff:
        tiff.write(SMOOTH, subifds=1, tile=(16, 16), photometric="rgb")
        tiff.write(SMOOTH[::2, ::2], subfiletype=1, tile=(16, 16), photometric="rgb")
    np.testing.assert_array_equal(read_image(path).array, SMOOTH)


# === What needs imagecodecs ===


@pytest.mark.parametrize("compression", ["jpeg2000", 33003, 33005])
def test_jpeg_2000_of_slides(write, compression):
    pytest.importorskip("imagecodecs", reason="needs the extra medical")
    stored = SMOOTH
    if compression == 33003:  # whatever the photometric interpretation says
        stored = np.asarray(Image.fromarray(SMOOTH).convert("YCbCr"))
    array = read_image(write(stored, photometric="rgb", compression=compression)).array
    np.testing.assert_allclose(array.astype(int), SMOOTH, atol=3 if compression == 33003 else 0)


def test_the_missing_library_is_named(write):
    """In a process of its own, because tifffile imports it once."""
    pytest.importorskip("imagecodecs", reason="writes the file")
    path = write(SMOOTH, photometric="rgb", compression="jpeg2000")
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from keras_espmedsam.data import read_image\n"
        "try: read_image(sys.argv[1])\n"
        "except ValueError as error: print(error)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, check=True
    )
    assert "is compressed as JPEG2000, which needs imagecodecs; install it with" in run.stdout
    assert "damaged" not in run.stdout


@pytest.mark.parametrize(("name", "count"), [("p1.tiff", 1), ("cate1-00002_11.ome.tiff", 1)])
def test_real_files(shared_dir, name, count):
    path = shared_dir / "formats" / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    images = list(read_images(path))
    assert len(images) == count
    stored = tifffile.imread(path)
    if stored.dtype == np.uint8:
        np.testing.assert_array_equal(images[0].array, stored)
    else:  # labels up to 8 of 32 bits: no image, and not made one
        assert images[0].array.max() < 0.05
        assert "hardly differ" in images[0].notice
