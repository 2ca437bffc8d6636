import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_espmedsam.data import (
    MAX_PIXELS,
    inspect_picture_file,
    read_mask,
    read_picture,
    read_pictures,
    write_mask,
)
from keras_espmedsam.errors import InputError

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


@pytest.fixture
def save(tmp_path):
    def save_image(image, name="picture.png", **options):
        path = tmp_path / name
        if not isinstance(image, Image.Image):
            image = Image.fromarray(image)
        image.save(path, **options)
        return path

    return save_image


# === Pixels ===


def test_importing_the_readers_does_not_import_keras():
    code = "import sys, keras_espmedsam.data; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_grey_png(save):
    picture = read_picture(save(RAMP))
    assert picture.array.dtype == np.uint8
    np.testing.assert_array_equal(picture.array, RAMP)
    assert (picture.stem, picture.size, picture.count) == ("picture", (4, 6), 1)


def test_16_bit_png_keeps_its_range(save):
    deep = RAMP.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_picture(save(deep)).array, deep)


def test_one_bit_png(save):
    path = save(RAMP > 100)
    assert Image.open(path).mode == "1"
    np.testing.assert_array_equal(read_picture(path).array, np.where(RAMP > 100, 255, 0))


def test_palette_becomes_rgb(save):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    array = read_picture(save(image)).array
    assert array[0].tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(("mode", "shape"), [("LA", (4, 6)), ("RGBA", (4, 6, 3))])
def test_alpha_is_dropped_and_not_blended(save, mode, shape):
    image = Image.fromarray(RAMP).convert(mode)
    image.putalpha(0)
    array = read_picture(save(image)).array
    assert array.shape == shape
    np.testing.assert_array_equal(array[..., 0] if array.ndim == 3 else array, RAMP)


def test_cmyk_jpeg_becomes_rgb(save):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    array = read_picture(save(image, "red.jpg", quality=100)).array
    assert array.shape == (16, 16, 3)
    np.testing.assert_allclose(array[8, 8], [255, 0, 0], atol=6)


def test_a_single_pixel(save):
    assert read_picture(save(np.array([[7]], np.uint8))).array.tolist() == [[7]]


def test_the_content_decides_and_not_the_name(save):
    path = save(RAMP, "really_a.png")
    path = path.rename(path.with_name("named.jpg"))
    np.testing.assert_array_equal(read_picture(path).array, RAMP)


# === EXIF orientation ===


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_undone(tmp_path, save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(RAMP, exif=exif)
    picture = read_picture(path)
    upright = ImageOps.exif_transpose(Image.open(path))
    np.testing.assert_array_equal(picture.array, np.asarray(upright))
    assert picture.layout.exif == orientation

    write_mask(tmp_path / "mask.png", picture.array > 100, picture)
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == Image.open(path).size  # as stored
        np.testing.assert_array_equal(np.asarray(mask), np.where(RAMP > 100, 255, 0))
        # A viewer that turns the photograph turns the mask too.
        turned = np.asarray(ImageOps.exif_transpose(mask))
    np.testing.assert_array_equal(turned, np.where(np.asarray(upright) > 100, 255, 0))


def test_a_broken_orientation_counts_as_upright(save):
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(read_picture(save(RAMP, exif=exif)).array, RAMP)


# === Malformed files ===


def assert_refused(path, *words, **options):
    """The file is refused in one sentence that names it, without a warning."""
    with warnings.catch_warnings(), pytest.raises(InputError) as caught:
        warnings.simplefilter("error")
        list(read_pictures(path, **options))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_missing_file(tmp_path):
    assert_refused(tmp_path / "none.png", "does not exist")


def test_folder(tmp_path):
    assert_refused(tmp_path, "is a folder")


@pytest.mark.parametrize("name", ["a.png", "a.dcm", "a.nii.gz", "a.tif"])
def test_empty_file(tmp_path, name):
    (tmp_path / name).touch()
    assert_refused(tmp_path / name, "is empty")


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("a.png", "not an image"),
        ("a.jpg", "not an image"),
        ("a.tif", "not an image"),
        ("a", "not an image"),
        ("a.dcm", "no DICOM image"),
        ("a.nii", "damaged"),
        ("a.nii.gz", "damaged"),
    ],
)
def test_text_under_another_name(tmp_path, name, word):
    (tmp_path / name).write_text("this is no picture at all\n" * 40)
    assert_refused(tmp_path / name, word)


@pytest.mark.parametrize("name", ["noise.png", "noise.jpg", "noise.tif", "noise.bmp"])
@pytest.mark.parametrize("part", [0.02, 0.5, 0.9])
def test_cut_file(save, name, part):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    path = save(noise, name)
    content = path.read_bytes()
    path.write_bytes(content[: max(20, int(len(content) * part))])
    assert_refused(path)


def test_damaged_bytes_in_the_middle_of_a_png(save):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    path = save(noise)
    content = bytearray(path.read_bytes())
    content[1000:1100] = bytes(100)
    path.write_bytes(content)
    assert_refused(path, "damaged")


def png_header(width, height):
    """A PNG that is nothing but a header: reading its pixels is impossible."""
    import struct
    import zlib

    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data))
    return b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT\x35\xaf\x06\x1e"


def test_the_pixel_limit_is_checked_before_decoding(tmp_path):
    path = tmp_path / "huge.png"
    path.write_bytes(png_header(20_000, 20_000))
    message = assert_refused(path, "20000 x 20000", "400,000,000", "100,000,000", "--max-pixels")
    assert "decompression bomb" not in message
    # Once the limit is raised, the header is fine and only the pixels are missing.
    assert inspect_picture_file(path, max_pixels=400_000_000).size == (20_000, 20_000)
    assert_refused(path, "cut short", max_pixels=400_000_000)


def test_the_limit_is_a_hundred_megapixels_and_inclusive(tmp_path):
    assert MAX_PIXELS == 100_000_000
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10_000, 10_000))
    assert inspect_picture_file(path).size == (10_000, 10_000)
    path.write_bytes(png_header(10_000, 10_001))
    assert_refused(path, "100,010,000")


def test_pillows_own_limit_is_left_as_it_was(save):
    before = Image.MAX_IMAGE_PIXELS
    read_picture(save(RAMP))
    assert Image.MAX_IMAGE_PIXELS == before


def test_several_pictures_are_not_one(save):
    pages = [Image.fromarray(RAMP), Image.fromarray(RAMP)]
    path = save(pages[0], "pages.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(InputError, match="holds 2 images"):
        read_picture(path)


# === Masks ===


def test_write_mask_is_0_and_255_and_replaces(tmp_path):
    path = tmp_path / "new" / "mask.png"
    write_mask(path, np.ones((2, 3), bool))
    write_mask(path, np.array([[0, 2, 0.5]]))
    with Image.open(path) as image:
        assert image.mode == "L"
        assert np.asarray(image).tolist() == [[0, 255, 255]]
    assert [file.name for file in path.parent.iterdir()] == ["mask.png"]


def test_a_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch):
    path = tmp_path / "mask.png"
    write_mask(path, np.ones((2, 3)))
    before = path.read_bytes()

    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        write_mask(path, np.zeros((2, 3)))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "mask", "message"),
    [
        ("mask.jpg", np.ones((2, 2)), "ending in .png"),
        ("mask.nii", np.ones((2, 2)), "NIfTI name"),
        ("mask.png", np.ones((2, 2, 1)), r"\(2, 2, 1\); expected \(height, width\)"),
        ("mask.png", np.ones((0, 2)), "height, width"),
    ],
)
def test_masks_that_cannot_be_written(tmp_path, name, mask, message):
    with pytest.raises(InputError, match=message):
        write_mask(tmp_path / name, mask)


def test_a_mask_must_fit_its_picture(tmp_path, save):
    with pytest.raises(InputError, match=r"mask of \(6, 4\).*\(4, 6\)"):
        write_mask(tmp_path / "mask.png", np.ones((6, 4)), read_picture(save(RAMP)))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0, 255], [False, True]),
        ([0, 1], [False, True]),
        ([0, 38], [False, True]),
        ([0, 0], [False, False]),
        ([255, 255], [True, True]),
        ([0, 3, 120, 135, 250, 255], [False, False, False, True, True, True]),
    ],
)
def test_read_mask(save, values, expected):
    assert read_mask(save(np.array([values], np.uint8))).tolist() == [expected]


def test_a_map_of_several_labels_is_no_mask(save):
    with pytest.raises(InputError, match="4 different values up to 3"):
        read_mask(save(np.array([[0, 1, 2, 3]], np.uint8)))


def test_masks_of_other_kinds(tmp_path, save):
    colour = np.zeros((2, 2, 3), np.uint8)
    colour[0, 0] = (255, 0, 0)
    assert read_mask(save(colour)).tolist() == [[True, False], [False, False]]
    assert read_mask(save(Image.new("1", (2, 1), 1))).tolist() == [[True, True]]
    gif = save(np.array([[0, 255]], np.uint8), "mask.gif")
    assert read_mask(Path(gif)).tolist() == [[False, True]]
