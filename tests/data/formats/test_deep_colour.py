import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import read_image
from keras_espmedsam.data.formats.deep_colour import has_deep_colour, read_deep_colour
from keras_espmedsam.errors import InputError, InputWarning

DEEP = np.random.default_rng(0).integers(0, 65536, (16, 24, 4)).astype(np.uint16)
DEEP[0, 0, :3], DEEP[0, 1, :3] = 0, 65535


def write_png(path, array, filter_type=0):
    """A 16-bit PNG, which Pillow does not write, each row by the same filter."""
    height, width, channels = array.shape
    colour_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = array.astype(">u2").view("u1").reshape(height, -1).astype(int)
    before = np.zeros_like(rows)
    if filter_type == 1:  # a pixel's difference from the one on its left
        before[:, 2 * channels :] = rows[:, : -2 * channels]
    elif filter_type == 2:  # from the one above
        before[1:] = rows[:-1]
    filtered = ((rows - before) % 256).astype("u1")
    data = b"".join(bytes([filter_type]) + row.tobytes() for row in filtered)

    def chunk(name, content):
        check = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + check

    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


@pytest.mark.parametrize("filter_type", [0, 1, 2])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_png_keeps_16_bits(tmp_path, channels, filter_type):
    path = write_png(tmp_path / "deep.png", DEEP[..., :channels], filter_type)
    expected = DEEP[..., 0] if channels == 2 else DEEP[..., :3]
    np.testing.assert_array_equal(read_image(path).array, expected)


@pytest.mark.parametrize("bits", [10, 12])
def test_a_png_of_a_camera_is_not_black(tmp_path, bits):
    """Pillow's upper eight bits are 0 to 3 and 0 to 15 of 255."""
    stored = DEEP[..., :3] >> (16 - bits)
    path = write_png(tmp_path / "camera.png", stored)
    low, high = np.percentile(stored, (0.1, 99.9))
    with pytest.warns(InputWarning, match=f"only {bits} of its 16 bits are used"):
        array = read_image(path).array
    np.testing.assert_allclose(array, np.clip((stored - low) / (high - low), 0, 1), atol=1e-5)
    full = read_image(path, intensity="full").array
    np.testing.assert_allclose(full, stored / 65535, atol=1e-6)
    said = read_image(path, intensity=f"0:{2**bits - 1}").array
    np.testing.assert_allclose(said, stored / (2**bits - 1), atol=1e-6)


@pytest.mark.parametrize("largest", [256, 1023, 4095, 65535])
@pytest.mark.parametrize("plain", [False, True])
def test_ppm_of_any_largest_value(tmp_path, largest, plain):
    stored = np.minimum(DEEP[..., :3], largest)
    stored[0, 0, 0] = largest
    path = tmp_path / "deep.ppm"
    header = f"{'P3' if plain else 'P6'}\n# a camera's\n24 16\n{largest}\n".encode()
    values = (
        " ".join(map(str, stored.ravel())).encode() if plain else stored.astype(">u2").tobytes()
    )
    path.write_bytes(header + values)
    array = read_image(path).array
    array = array / 65535 if array.dtype == np.uint16 else array
    np.testing.assert_allclose(array, stored / largest, atol=1e-6)
    values, meaning = read_deep_colour(path)
    np.testing.assert_array_equal(values, stored)
    assert meaning.whole == (0, largest)


def test_a_cut_ppm(tmp_path):
    path = tmp_path / "cut.ppm"
    path.write_bytes(b"P6\n24 16\n65535\n" + bytes(100))
    with pytest.raises(InputError, match="cut short or damaged"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("a.png", DEEP[..., 0]),
        ("a.png", (DEEP[..., :3] >> 8).astype("u1")),
        ("a.png", (DEEP >> 8).astype("u1")),
        ("a.ppm", (DEEP[..., :3] >> 8).astype("u1")),
        ("a.pgm", DEEP[..., 0]),
        ("a.jpg", (DEEP[..., :3] >> 8).astype("u1")),
        ("a.gif", (DEEP[..., :3] >> 8).astype("u1")),
    ],
)
def test_what_pillow_reads_whole(tmp_path, name, array):
    Image.fromarray(array).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert not has_deep_colour(image)
