import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_espmedsam.data import (
    MAX_PIXELS,
    inspect_image_file,
    read_image,
    read_images,
    read_mask,
    write_mask,
)
from keras_espmedsam.errors import InputError

RAMP = np.arange(24, dtype=np.uint8).reshape(4, 6) * 10


@pytest.fixture
def save(tmp_path):
    def save_image(image, name="image.png", **options):
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


def test_the_content_decides_and_not_the_name(save):
    path = save(RAMP, "really_a.png")
    path = path.rename(path.with_name("named.jpg"))
    np.testing.assert_array_equal(read_image(path).array, RAMP)


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
    with pytest.raises(InputError, match="of a kind of its format that is not read, such as JPEG"):
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


def test_a_mask_must_fit_its_image(tmp_path, save):
    with pytest.raises(InputError, match=r"mask of \(6, 4\).*\(4, 6\)"):
        write_mask(tmp_path / "mask.png", np.ones((6, 4)), read_image(save(RAMP)))


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
