import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_espmedsam.data import inspect_image_file, read_image, read_images, write_mask
from keras_espmedsam.errors import InputError

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


# === Pixels ===


def test_grey_png(save):
    image = read_image(save(RAMP))
    assert image.array.dtype == np.uint8
    np.testing.assert_array_equal(image.array, RAMP)
    assert (image.stem, image.size, image.count) == ("image", (4, 6), 1)


def test_16_bit_png_keeps_its_range(save):
    deep = RAMP.astype(np.uint16) * 257
    np.testing.assert_array_equal(read_image(save(deep)).array, deep)


def test_one_bit_png(save):
    path = save(RAMP > 100)
    assert Image.open(path).mode == "1"
    np.testing.assert_array_equal(read_image(path).array, np.where(RAMP > 100, 255, 0))


def test_palette_becomes_rgb(save):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), mode="P")
    image.putpalette([255, 0, 0, 0, 0, 255])
    array = read_image(save(image)).array
    assert array[0].tolist() == [[255, 0, 0], [0, 0, 255]]


@pytest.mark.parametrize(("mode", "shape"), [("LA", (4, 6)), ("RGBA", (4, 6, 3))])
def test_alpha_is_dropped_and_not_blended(save, mode, shape):
    image = Image.fromarray(RAMP).convert(mode)
    image.putalpha(0)
    array = read_image(save(image)).array
    assert array.shape == shape
    np.testing.assert_array_equal(array[..., 0] if array.ndim == 3 else array, RAMP)


def test_cmyk_jpeg_becomes_rgb(save):
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    array = read_image(save(image, "red.jpg", quality=100)).array
    assert array.shape == (16, 16, 3)
    np.testing.assert_allclose(array[8, 8], [255, 0, 0], atol=6)


def test_a_single_pixel(save):
    assert read_image(save(np.array([[7]], np.uint8))).array.tolist() == [[7]]


# === Formats ===

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
DEEP = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)


def unit(array):
    return array / np.iinfo(array.dtype).max if array.dtype.kind == "u" else array


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("options", [{}, {"transparency": 1}])
def test_png_of_few_bits(save, bits, options):
    """Grey stays grey, palettes become colours; what is transparent keeps its colour."""
    values = (np.arange(48).reshape(6, 8) % 2**bits).astype(np.uint8)
    image = Image.fromarray(values).convert("P")
    image.putpalette([level for k in range(2**bits) for level in (k * 9, 255 - k, k * 3)])
    array = read_image(save(image, bits=bits, **options)).array
    expected = np.stack([values * 9, 255 - values, values * 3], axis=-1)
    np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("largest", [1, 15, 100, 255, 1023, 4095, 65535])
@pytest.mark.parametrize("form", ["P2", "P5"])
def test_pgm_of_any_largest_value(tmp_path, largest, form):
    values = DEEP.astype(int) * largest // 65535
    path = tmp_path / "a.pgm"
    body = values.astype("u1" if largest < 256 else ">u2").tobytes()
    body = " ".join(map(str, values.ravel())).encode() if form == "P2" else body
    path.write_bytes(f"{form}\n# comment\n8 6\n{largest}\n".encode() + body)
    # Pillow rounds to 8 or 16 bits.
    expected = values / largest
    np.testing.assert_allclose(unit(read_image(path).array), expected, atol=0.002)


@pytest.mark.parametrize("form", ["P1", "P4"])
def test_pbm_has_1_for_black(tmp_path, form):
    black = np.arange(48).reshape(6, 8) % 3 == 0
    path = tmp_path / "a.pbm"
    plain = " ".join(map(str, black.astype(int).ravel())).encode()
    path.write_bytes(
        f"{form}\n8 6\n".encode() + (plain if form == "P1" else np.packbits(black).tobytes())
    )
    np.testing.assert_array_equal(read_image(path).array, np.where(black, 0, 255))


def test_a_floating_point_pnm(tmp_path):
    path = tmp_path / "a.pfm"
    path.write_bytes(b"Pf\n8 6\n-1.0\n" + (DEEP[::-1] / 65535).astype("<f4").tobytes())
    np.testing.assert_allclose(read_image(path).array, DEEP / 65535, atol=1e-6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_bmp(save, mode):
    image = Image.fromarray(COLOUR).convert(mode)
    expected = image.convert("RGB" if mode in ("P", "RGBA") else "L" if mode == "1" else mode)
    np.testing.assert_array_equal(read_image(save(image, "a.bmp")).array, np.asarray(expected))


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
def test_a_png_that_uses_a_part_of_its_bits(save, bits):
    stored = DEEP >> (16 - bits)
    with pytest.warns(match=f"only {bits} of its 16 bits are used"):
        array = read_image(path := save(stored)).array
    low, high = np.percentile(stored, (0.1, 99.9))
    np.testing.assert_allclose(array, np.clip((stored - low) / (high - low), 0, 1), atol=1e-6)
    full = read_image(path, intensity="full").array
    np.testing.assert_allclose(unit(full), stored / 65535, atol=1e-6)


# === Several images in one file ===

FRAMES = [np.roll(COLOUR, k, axis=1) for k in range(3)]


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.webp", {"lossless": True}), ("a.png", {}), ("a.tif", {}), ("a.gif", {})],
)
def test_every_frame_is_an_image(save, name, options):
    images = [Image.fromarray(frame).quantize(48) for frame in FRAMES]
    expected = [np.asarray(image.convert("RGB")) for image in images]
    if name != "a.gif":
        images = [image.convert("RGB") for image in images]
    path = save(images[0], name, save_all=True, append_images=images[1:], **options)
    images = list(read_images(path))
    assert [(p.index, p.count) for p in images] == [(0, 3), (1, 3), (2, 3)]
    np.testing.assert_array_equal([p.array for p in images], expected)
    with pytest.raises(InputError, match="holds 3 images; expected one"):
        read_image(path)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp"])
def test_frames_that_store_their_changes_alone(save, name):
    """A frame is what a viewer shows, not the rectangle that the file stores for it."""
    frames = [np.full((16, 24), 60, np.uint8) for _ in range(3)]
    for k, frame in enumerate(frames):
        frame[2 * k : 2 * k + 2, 3:9] = 250
    images = [Image.fromarray(frame) for frame in frames]
    path = save(images[0], name, save_all=True, append_images=images[1:], lossless=True)
    arrays = [np.atleast_3d(image.array) for image in read_images(path)]
    assert len(arrays) == 3
    for array, frame in zip(arrays, frames, strict=True):
        assert (array == frame[..., None]).all()


def test_an_animation_that_promises_frames_without_end(save):
    path = save(
        Image.fromarray(COLOUR), "a.png", save_all=True, append_images=[Image.new("L", (2, 2))]
    )
    content = path.read_bytes()
    place = content.index(b"acTL")
    for count in (1000, 2**31 - 1):
        chunk = b"acTL" + struct.pack(">II", count, 0)
        end = chunk + struct.pack(">I", zlib.crc32(chunk)) + content[place + 16 :]
        path.write_bytes(content[:place] + end)
        with pytest.raises(InputError, match=f"it promises {count:,} frames"):
            read_images(path).__next__()


def test_frames_that_are_out_of_all_proportion(save):
    """A frame of a GIF takes some twenty bytes, whatever its size."""
    path = save(np.zeros((3000, 3000), np.uint8), "a.gif", optimize=False)
    content = path.read_bytes()
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\0"
    path.write_bytes(content[:-1] + frame * 43 + b";")
    assert inspect_image_file(path).count == 44
    path.write_bytes(content[:-1] + frame * 5000 + b";")
    with pytest.raises(InputError, match="5,001 frames with 45,009,000,000 pixels in all"):
        inspect_image_file(path)


def test_one_frame_is_one_image(save):
    assert read_image(save(RAMP, "a.gif")).count == 1
    with_preview = [Image.fromarray(np.tile(COLOUR, (9, 9, 1))), Image.fromarray(COLOUR)]
    path = save(
        with_preview[0], "a.mpo", format="MPO", save_all=True, append_images=with_preview[1:]
    )
    assert read_image(path).size == (54, 72)
    same_size = [with_preview[0], with_preview[0].rotate(180)]
    path = save(same_size[0], "b.mpo", format="MPO", save_all=True, append_images=same_size[1:])
    assert [image.count for image in read_images(path)] == [2, 2]


def test_a_jpeg_of_12_bits_is_not_called_no_image(tmp_path):
    imagecodecs = pytest.importorskip("imagecodecs", reason="writes the file")
    path = tmp_path / "deep.jpg"
    path.write_bytes(imagecodecs.jpeg8_encode(DEEP >> 4, bitspersample=12))
    with pytest.raises(InputError, match="an unsupported variant of its format, such as JPEG"):
        read_image(path)


@pytest.mark.parametrize("name", ["01_test_mask.gif", "neck_input.png"])
def test_real_files(shared_dir, name):
    path = shared_dir / "formats" / name
    if not path.exists():
        pytest.skip(f"{path} does not exist")
    with Image.open(path) as image:
        np.testing.assert_array_equal(read_image(path).array, np.asarray(image.convert("L")))


# === EXIF orientation ===


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_undone(tmp_path, save, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(RAMP, exif=exif)
    image = read_image(path)
    upright = ImageOps.exif_transpose(Image.open(path))
    np.testing.assert_array_equal(image.array, np.asarray(upright))
    assert image.layout.exif == orientation

    write_mask(tmp_path / "mask.png", image.array > 100, image)
    with Image.open(tmp_path / "mask.png") as mask:
        assert mask.size == Image.open(path).size  # as stored
        np.testing.assert_array_equal(np.asarray(mask), np.where(RAMP > 100, 255, 0))
        # A viewer that turns the photograph turns the mask too.
        turned = np.asarray(ImageOps.exif_transpose(mask))
    np.testing.assert_array_equal(turned, np.where(np.asarray(upright) > 100, 255, 0))


def test_a_broken_orientation_counts_as_upright(save):
    exif = Image.Exif()
    exif[0x0112] = 77
    np.testing.assert_array_equal(read_image(save(RAMP, exif=exif)).array, RAMP)
