import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.brightness import needs_statistics, to_brightness
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.imaging.stored_values import Meaning, Statistics, to_unit

YY, XX = np.mgrid[:256, :256]
SCENE = (np.sin(YY / 19) * np.cos(XX / 23) + 1) / 2


def stored(bits, scene=SCENE):
    return (scene * (2**bits - 1)).round().astype(np.uint16)


def shown(image, **options):
    brightness, notice = to_brightness(image, **options)
    if brightness.dtype.kind == "u":
        brightness = brightness / np.iinfo(brightness.dtype).max
    return brightness, notice


def hot(image, count=5):
    image = image.copy()
    image.reshape(-1)[:: image.size // count][:count] = 65535
    return image


# === Sixteen bits ===


@pytest.mark.parametrize("bits", [8, 9, 10, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("with_hot_pixels", [False, True])
def test_a_camera_that_uses_a_part_of_its_bits(bits, with_hot_pixels):
    """Shown as in 8 bits, but for the percentiles; a few hot pixels change nothing."""
    image = hot(stored(bits)) if with_hot_pixels else stored(bits)
    brightness, notice = shown(image)
    assert f"only {bits} of its 16 bits are used" in notice
    low, high = np.percentile(SCENE, (0.1, 99.9))
    expected = np.clip((SCENE - low) / (high - low), 0, 1)
    where = image < 65535
    np.testing.assert_allclose(brightness[where], expected[where], atol=0.01)


@pytest.mark.parametrize(
    "image",
    [
        stored(16),
        hot(stored(16)),
        stored(12) << 4,
        stored(8) * 257,
        stored(8, SCENE * 0.3) * 257,  # dark, in 8 bits too
        stored(8) << 8,
        (SCENE > 0.5).astype(np.uint16) * 65535,
        np.where((YY - 99) ** 2 + (XX - 99) ** 2 < 256, 65000, stored(13)).astype(np.uint16),
        np.full((64, 64), 40000, np.uint16),
        np.arange(24, dtype=np.uint16).reshape(4, 6) * 2000,
        np.array([[65535]], np.uint16),
    ],
)
@pytest.mark.parametrize("meaning", [None, Meaning()])
def test_what_uses_its_bits_stays_as_it_is(image, meaning):
    brightness, notice = to_brightness(image, meaning)
    assert brightness.dtype == np.uint16
    np.testing.assert_array_equal(brightness, image)
    assert notice is None


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize("black", [65535, 2**14 - 1])
def test_white_is_zero_of_which_a_part_is_used(bits, black):
    """Whether black is the largest of 16 bits, or of as many as are used."""
    brightness, notice = shown(black - stored(bits), meaning=Meaning(inverted=True))
    low, high = np.percentile(SCENE, (0.1, 99.9))
    np.testing.assert_allclose(brightness, np.clip((SCENE - low) / (high - low), 0, 1), atol=0.01)
    assert "taken from its values" in notice


def test_white_is_zero_that_uses_its_bits():
    brightness, notice = shown(65535 - stored(16), meaning=Meaning(inverted=True))
    np.testing.assert_allclose(brightness, stored(16) / 65535, atol=1e-6)
    assert notice is None


@pytest.mark.parametrize("offset", [32768, 50000])
def test_an_offset_does_not_make_an_image_use_its_bits(offset):
    """Signed values that a program wrote unsigned: 32768 for 0."""
    brightness, notice = shown(stored(11) + np.uint16(offset))
    low, high = np.percentile(SCENE, (0.1, 99.9))
    np.testing.assert_allclose(brightness, np.clip((SCENE - low) / (high - low), 0, 1), atol=0.01)
    assert "nothing tells what is black and white" in notice


@pytest.mark.parametrize("value", [0, 1, 200, 1000, 30000])
def test_an_image_without_content_is_black(value):
    brightness, notice = shown(np.full((64, 64), value, np.uint16))
    assert not brightness.any()
    assert "hardly differ" in notice


def test_noise_in_the_dark_is_not_made_an_image():
    noise = np.random.default_rng(0).normal(100, 2, (256, 256)).round().astype(np.uint16)
    brightness, notice = shown(noise)
    assert brightness.std() < 0.02
    assert "hardly differ" in notice


def test_channels_share_black_and_white():
    image = np.stack([stored(10), stored(10) // 2, stored(10) // 4], axis=-1)
    brightness, _ = shown(image)
    low, high = np.percentile(image, (0.1, 99.9))
    np.testing.assert_allclose(brightness, np.clip((image - low) / (high - low), 0, 1), atol=1e-4)


def test_a_file_and_an_array_are_read_alike():
    """A preset trained on files is used on arrays."""
    for image in (stored(16), stored(12), hot(stored(14)), stored(8) * 257, stored(3)):
        for byteorder in "<>":
            array = image.astype(f"{byteorder}u2")
            np.testing.assert_array_equal(shown(array)[0], shown(array, meaning=Meaning())[0])


def test_what_a_file_gives_is_read_alike_again_as_an_array():
    for meaning in (Meaning(), Meaning(inverted=True), Meaning(bits=12, whole=(0, 4095))):
        for image in (stored(12), stored(12) // 5):
            once, _ = to_brightness(image, meaning)
            twice, notice = to_brightness(once)
            np.testing.assert_array_equal(twice, once)
            assert notice is None


# === Other types ===


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (np.uint8([[0, 51, 255]]), [[0, 0.2, 1]]),
        (np.array([[False, True]]), [[0, 1]]),
        (np.float16([[0, 0.5, 1]]), [[0, 0.5, 1]]),
        (np.float32([[-1e-6, 0.5, 1.000001]]), [[0, 0.5, 1]]),
        (np.float64([[0.2, 0.3]]), [[0.2, 0.3]]),
    ],
)
def test_8_bits_and_unit_floats_are_taken_as_they_are(image, expected):
    brightness, notice = shown(image)
    np.testing.assert_allclose(brightness, expected, atol=1e-6)
    assert notice is None


@pytest.mark.parametrize(
    ("meaning", "dtype", "values", "expected"),
    [
        (Meaning(bits=4, whole=(0, 15)), "u1", [0, 3, 15], [0, 0.2, 1]),
        (Meaning(bits=8), "i1", [-128, -77, 127], [0, 0.2, 1]),
        (Meaning(bits=8, whole=(-128, 127), measured=True), "i2", [-128, -77], [0, 0.2]),
        (Meaning(bits=12, whole=(0, 4095)), "u2", [0, 819, 4095], [0, 0.2, 1]),
        (Meaning(bits=8, inverted=True), "u1", [0, 51, 255], [1, 0.8, 0]),
        (Meaning(inverted=True), "f4", [0, 0.2, 1], [1, 0.8, 0]),
        (Meaning(), "u4", [0, 858993459, 4294967295], [0, 0.2, 1]),
    ],
)
def test_the_bits_that_a_file_tells(meaning, dtype, values, expected):
    brightness, notice = shown(np.array([values], dtype), meaning=meaning)
    np.testing.assert_allclose(brightness, [expected], atol=1e-6)
    assert notice is None


def test_measured_values_are_shown_by_their_percentiles():
    values = SCENE * 3000 - 1000
    for dtype in (np.int16, np.float32):
        image = values.astype(dtype)
        brightness, notice = to_brightness(image, Meaning(measured=True))
        low, high = np.percentile(image, (0.5, 99.5))
        np.testing.assert_allclose(
            brightness, np.clip((image - low) / (high - low), 0, 1), atol=1e-5
        )
        assert notice.startswith("nothing tells what is black and white")


def test_padding_is_black_and_has_no_part():
    padding = YY < 100
    image = np.where(padding, -2000, (SCENE * 1000)).astype(np.int16)
    brightness, _ = to_brightness(image, Meaning(measured=True, padding=padding, inverted=True))
    low, high = np.percentile(image[~padding], (0.5, 99.5))
    expected = 1 - np.clip((image - low) / (high - low), 0, 1)
    np.testing.assert_allclose(brightness, np.where(padding, 0, expected), atol=1e-6)
    alone, _ = to_brightness(image, Meaning(measured=True, padding=np.ones_like(padding)))
    assert not alone.any()


# === What is said ===


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        ("auto", "auto"),
        ("full", "full"),
        ("0:4095", (0, 4095)),
        (" -160 : 240 ", (-160, 240)),
        ("0.5:1e3", (0.5, 1000)),
        ((0, 100), (0, 100)),
        ([0, np.float32(0.5)], (0, 0.5)),
    ],
)
def test_parse_intensity(value, expected):
    assert parse_intensity(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Auto",
        "4095",
        "0:",
        ":",
        "5:5",
        "9:3",
        "0:1:2",
        "nan:1",
        "0:inf",
        7,
        (1,),
        (2, 1),
        "x" * 999,
    ],
)
def test_what_is_no_intensity(value):
    with pytest.raises(
        InputError, match=r"Received the intensity .*--intensity.*LOW:HIGH"
    ) as error:
        parse_intensity(value, "--intensity")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("meaning", "expected"),
    [
        (None, [0, 0.5, 1]),
        (Meaning(), [0, 0.5, 1]),
        (Meaning(inverted=True), [1, 0.5, 0]),
        (Meaning(window=lambda values: values * 0), [0, 0.5, 1]),
    ],
)
@pytest.mark.parametrize("dtype", ["u1", "u2", "i2", "f4", "f8", "i8"])
def test_values_of_black_and_white(meaning, expected, dtype):
    brightness, notice = to_brightness(np.array([[10, 60, 110]], dtype), meaning, (10, 110))
    np.testing.assert_allclose(brightness, [expected], atol=1e-6)
    assert notice is None


@pytest.mark.parametrize(
    ("image", "meaning", "expected"),
    [
        (np.uint16([[0, 819, 4095]]), None, [0, 819 / 65535, 4095 / 65535]),
        (np.uint16([[0, 819, 4095]]), Meaning(bits=12, whole=(0, 4095)), [0, 0.2, 1]),
        (np.int16([[-32768, 32767]]), Meaning(), [0, 1]),
        (np.uint8([[0, 51, 255]]), Meaning(window=lambda values: values * 0), [0, 0.2, 1]),
    ],
)
def test_full_is_the_reading_of_the_first_version(image, meaning, expected):
    brightness, notice = shown(image, meaning=meaning, intensity="full")
    np.testing.assert_allclose(brightness, [expected], atol=1e-6)
    assert notice is None


def test_measured_floats_have_no_whole_range():
    with pytest.raises(InputError, match="'full' for measured floating-point values"):
        to_brightness(np.float32([[0, 900]]), Meaning(measured=True), "full")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.float32([[0, 255]]), "values from 0 to 255; expected values in"),
        (np.float32([[0, 1.0001]]), "values from 0 to 1.0001"),
        (np.float32([[0, np.nan]]), "with NaN"),
        (np.float32([[0, np.inf]]), "with infinite values"),
        (np.int32([[0, 1]]), "dtype int32"),
        (np.array([["a"]]), "dtype <U1"),
    ],
)
def test_values_that_say_nothing(image, message):
    with pytest.raises(InputError, match=message):
        to_brightness(image)


# === Several images ===


def test_statistics_of_a_stack():
    stack = [stored(12), stored(10), hot(stored(12))]
    found = Statistics.of(stack)
    low, high = np.percentile(np.stack(stack), (0.1, 99.9))
    np.testing.assert_allclose([found.low, found.high], [low, high], rtol=1e-6)
    assert found.largest == 4094  # but for the hot pixels and a few more
    assert not found.replicated
    brightness = [to_brightness(image, Meaning(statistics=found))[0] for image in stack]
    np.testing.assert_allclose(brightness[1].max(), (1023 - low) / (high - low), atol=1e-5)


def test_statistics_of_large_images_take_every_so_many():
    large = np.arange(4_000_000, dtype=np.uint32).reshape(2000, 2000)
    found = Statistics.of([large])
    np.testing.assert_allclose([found.low, found.high], [4_000, 3_996_000], rtol=1e-3)


def test_what_is_measured_is_cut_more():
    values = np.random.default_rng(0).normal(size=10_000)
    camera, measured = Statistics.of([values]), Statistics.of([values], measured=True)
    np.testing.assert_allclose([measured.low, measured.high], np.percentile(values, (0.5, 99.5)))
    np.testing.assert_allclose([camera.low, camera.high], np.percentile(values, (0.1, 99.9)))


def test_what_is_written_on_a_dark_image_is_not_its_white():
    """Letters of 65,535 on 0.3 per cent of an X-ray image of 12 bits."""
    image = stored(12)
    image[5:9, 10:60] = 65535
    found = Statistics.of([image])
    assert 3900 < found.high <= 4095
    brightness, notice = shown(image)
    assert brightness[100:].std() > 0.2
    assert "percentiles" in notice


def test_every_channel_and_column_has_a_part_in_the_statistics():
    """Every sixth value would be of the first channel alone, and of every second column."""
    image = np.zeros((1000, 2000, 3), np.uint16)
    image[..., 1], image[:, 1::2, 2] = 200, 1000
    found = Statistics.of([image])
    assert (found.low, found.high, found.largest) == (0, 1000, 1000)


def test_statistics_of_nothing_and_of_replicated_values():
    assert Statistics.of([]) == Statistics.of([np.zeros((0, 4))]) == Statistics(0, 0, 0, False)
    assert Statistics.of([stored(8) * 257]).replicated
    assert not Statistics.of([stored(8) * 256]).replicated


@pytest.mark.parametrize(
    ("dtype", "meaning", "intensity", "needed"),
    [
        ("u2", Meaning(), "auto", True),
        ("u2", Meaning(), "full", False),
        ("u2", Meaning(), (0, 9), False),
        ("u1", Meaning(), "auto", False),
        ("u2", Meaning(bits=8), "auto", False),
        ("u2", Meaning(window=to_unit), "auto", False),
        ("f4", Meaning(), "auto", False),
        ("f4", Meaning(measured=True), "auto", True),
        ("u2", Meaning(statistics=Statistics(0, 1, 1, False)), "auto", False),
        ("u2", None, "auto", False),
    ],
)
def test_when_the_values_of_all_images_are_asked(dtype, meaning, intensity, needed):
    assert needs_statistics(np.zeros((2, 2), dtype), meaning, intensity) == needed


@pytest.mark.parametrize("intensity", ["auto", "full"])
def test_floats_beyond_the_unit_range_are_told_what_helps(intensity):
    image = np.float32([[0, 200]])
    with pytest.raises(InputError, match="give the intensity LOW:HIGH") as caught:
        to_brightness(image, intensity=intensity)
    assert "full" not in str(caught.value)
    np.testing.assert_allclose(to_brightness(image, intensity=(0, 400))[0], [[0, 0.5]])


@pytest.mark.parametrize("dtype", ["uint8", "bool"])
def test_a_range_beyond_8_bits_is_not_about_8_bits(dtype):
    values = (np.arange(256).reshape(16, 16) % (2 if dtype == "bool" else 256)).astype(dtype)
    brightness, notice = to_brightness(values, intensity=(0, 4095))
    np.testing.assert_array_equal(brightness, values)
    assert "hold no 4095" in notice
    within, notice = to_brightness(values, intensity=(0, 1 if dtype == "bool" else 200))
    assert notice is None and within.max() == 1


@pytest.mark.parametrize(
    ("intensity", "what"), [((0, 60_000), "black"), ((-9000, 10), "white"), ((0, 1200), None)]
)
def test_a_range_that_hides_the_image_is_told(intensity, what):
    _, notice = to_brightness(
        np.linspace(20, 1000, 400).astype("uint16")[None], intensity=intensity
    )
    assert (notice or "").endswith(f"nearly all of it is {what}" if what else "")
    assert bool(notice) == bool(what)
