import subprocess
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import MAX_PIXELS, inspect_image_file, read_image, read_images
from keras_espmedsam.errors import InputError

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


def test_importing_the_readers_does_not_import_keras():
    code = "import sys, keras_espmedsam.data; sys.exit('keras' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# === Malformed files ===


def assert_refused(path, *words, **options):
    """The file is refused in one sentence that names it, without a warning."""
    with warnings.catch_warnings(), pytest.raises(InputError) as caught:
        warnings.simplefilter("error")
        list(read_images(path, **options))
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    for word in words:
        assert word in message
    return message


def test_folder(tmp_path):
    assert_refused(tmp_path, "is a folder")


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
    (tmp_path / name).write_text("this is no image at all\n" * 40)
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
    assert inspect_image_file(path, max_pixels=400_000_000).size == (20_000, 20_000)
    assert_refused(path, "cut short", max_pixels=400_000_000)


def test_the_limit_is_a_hundred_megapixels_and_inclusive(tmp_path):
    assert MAX_PIXELS == 100_000_000
    path = tmp_path / "large.png"
    path.write_bytes(png_header(10_000, 10_000))
    assert inspect_image_file(path).size == (10_000, 10_000)
    path.write_bytes(png_header(10_000, 10_001))
    assert_refused(path, "100,010,000")


def test_pillows_own_limit_is_left_as_it_was(save):
    before = Image.MAX_IMAGE_PIXELS
    read_image(save(RAMP))
    assert Image.MAX_IMAGE_PIXELS == before


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_no_intensity_is_auto(tmp_path, dtype):
    values = np.arange(48, dtype=dtype).reshape(6, 8)
    path = tmp_path / "image.png"
    Image.fromarray(values).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = read_image(path).array
        np.testing.assert_array_equal(read_image(path, intensity=None).array, expected)
        found = next(inspect_image_file(path).images(intensity=None)).array
    np.testing.assert_array_equal(found, expected)
