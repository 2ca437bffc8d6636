import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import read_image
from keras_espmedsam.errors import InputError

RAMP = np.tile(np.arange(32, dtype=np.uint8) * 8, (32, 1))


@pytest.fixture
def jpeg(tmp_path):
    path = tmp_path / "a.jpg"
    Image.fromarray(np.dstack([RAMP] * 3)).save(path, progressive=True, quality=95)
    return path


def test_scans_without_number_are_refused(jpeg):
    content = jpeg.read_bytes()
    last = content.rfind(b"\xff\xda")
    jpeg.write_bytes(content[:-2] + content[last:-2] * 95 + b"\xff\xd9")
    with pytest.raises(InputError, match="is a JPEG with 105 scans; about ten are usual"):
        read_image(jpeg)
    jpeg.write_bytes(content[:-2] + content[last:-2] * 90 + b"\xff\xd9")
    assert read_image(jpeg).size == (32, 32)


def test_what_looks_like_a_scan_elsewhere_is_none(jpeg):
    """In a comment, and after the image's end, where phones append a film."""
    pixels = read_image(jpeg).array
    content = jpeg.read_bytes()
    comment = b"\xff\xfe\x10\x02" + b"\xff\xda" * 0x800
    jpeg.write_bytes(content[:2] + comment + content[2:] + b"\xff\xda\0\2" * 500)
    np.testing.assert_array_equal(read_image(jpeg).array, pixels)
    np.testing.assert_allclose(pixels, np.dstack([RAMP] * 3), atol=12)


def test_a_progressive_jpeg_that_is_cut(jpeg):
    jpeg.write_bytes(jpeg.read_bytes()[:-40])
    with pytest.raises(InputError, match="cut short or damaged"):
        read_image(jpeg)
