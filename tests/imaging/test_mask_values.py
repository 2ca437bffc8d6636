import io

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.mask_values import foreground_scale, mask_values, unit_mask

ROWS, COLUMNS = np.mgrid[:96, :120]
DISC = np.hypot(ROWS - 40, COLUMNS - 50) < 24
# Vessels of one to three pixels, as thin as masks get.
VESSELS = (np.abs(ROWS - 48 - 20 * np.sin(COLUMNS / 15)) < 1.2) | (np.abs(COLUMNS - ROWS) < 1)


def _grey(mask):
    return Image.fromarray(np.where(mask, 255, 0).astype("uint8"))


def _jpeg(array, quality):
    file = io.BytesIO()
    Image.fromarray(array).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([0, 1], "uint8"), [0, 1]),
        (np.array([0, 255], "uint8"), [0, 1]),
        (np.array([0, 38], "uint8"), [0, 1]),
        (np.array([0, 40000], ">u2"), [0, 1]),
        (np.array([0, 255], "int64"), [0, 1]),
        (np.array([False, True]), [0, 1]),
        (np.array([0, 1], "float16"), [0, 1]),
        (np.array([0, 2.5]), [0, 1]),
        # A mask of 0 and 1 that was divided by 255, as for an image.
        (np.array([0, 1 / 255], "float32"), [0, 1]),
        (np.array([0, 0], "uint8"), [0, 0]),
        (np.array([1, 1], "uint8"), [1, 1]),
        (np.array([255, 255], "uint8"), [1, 1]),
        (np.array([-1e-9, 1.0000002, 0.9999999, 0], "float32"), [0, 1, 1, 0]),
    ],
)
def test_one_value_beside_0_is_foreground(values, expected):
    found = mask_values(values[None])
    assert found.dtype == np.float32
    assert np.round(found).tolist() == [expected]
    np.testing.assert_allclose(found, [expected], atol=1e-6)


@pytest.mark.parametrize("quality", [25, 40, 60, 75, 95])
@pytest.mark.parametrize("mask", [DISC, VESSELS], ids=["disc", "vessels"])
def test_a_jpeg_is_read_as_what_was_compressed(mask, quality):
    found = mask_values(_jpeg(np.asarray(_grey(mask)), quality)) > 0.5
    assert (found != mask).mean() < 0.003


@pytest.mark.parametrize("name", ["BILINEAR", "BICUBIC", "LANCZOS"])
@pytest.mark.parametrize("scale", [0.7, 2, 3.3, 8])
@pytest.mark.parametrize("mask", [DISC, VESSELS], ids=["disc", "vessels"])
def test_edges_of_a_resized_mask_are_soft(mask, scale, name):
    size = [round(side * scale) for side in mask.shape[::-1]]
    array = np.asarray(_grey(mask).resize(size, Image.Resampling[name]))
    for one in (array, array.astype("int64"), array.astype("uint16") * 257):
        np.testing.assert_allclose(mask_values(one), array / 255, atol=1e-6)
    np.testing.assert_allclose(mask_values(array / np.float32(255)), array / 255, atol=1e-6)


@pytest.mark.parametrize("width", [1.5, 6.0])
def test_probabilities_are_soft_however_slowly_they_change(width):
    distance = np.hypot(ROWS - 40, COLUMNS - 50) - 24.1
    values = (1 / (1 + np.exp(distance / width))).astype("float32")
    np.testing.assert_array_equal(mask_values(values) > 0.5, distance < 0)
    deep = np.round(values * 65535).astype("uint16")
    np.testing.assert_array_equal(mask_values(deep) > 0.5, distance < 0)


def _with_border(inside, border, width):
    grown = np.hypot(ROWS - 40, COLUMNS - 50) < 24 + width
    return np.where(DISC, inside, np.where(grown, border, 0)).astype("uint8")


def _instances(count, dtype="uint8", step=1):
    """Rectangles of 4 x 3 pixels with numbers of their own."""
    array = np.zeros((80, 200), dtype)
    for i in range(count):
        row, column = 8 * (i // 40), 5 * (i % 40)
        array[row : row + 4, column : column + 3] = (i + 1) * step
    return array


LABELS = {
    "0/1/2": _with_border(1, 2, 8),
    "class and void": _with_border(1, 255, 8),
    "class and a void border of 1 pixel": _with_border(1, 255, 1),
    "class 15 and a void border of 2 pixels": _with_border(15, 255, 2),
    "cup and rim": 255 - _with_border(255, 127, 8),
    "0/128/255": _with_border(128, 255, 8),
    "0/127/255": _with_border(127, 255, 8),
    "0/85/170/255": np.where(ROWS < 8, 170, _with_border(85, 255, 8)).astype("uint8"),
    "a border between": _with_border(255, 128, 1),
    "five classes and void": np.where(ROWS < 40, ROWS // 8, _with_border(1, 255, 2)).astype(
        "uint8"
    ),
    "200 instances": _instances(200),
    "instances of 16 bits": _instances(300, "uint16"),
    "instances of 16 bits above half": _instances(300, "uint16", 218),
    "instances of 32 bits": _instances(300, "int32", 1000),
    "thin instances": np.where(ROWS % 5 < 2, ROWS // 5 * 12 + 10, 0).astype("uint8"),
    "dots": np.where((ROWS % 9 == 4) & (COLUMNS % 9 == 4), (ROWS + COLUMNS) % 256, 0).astype(
        "uint8"
    ),
    "floats": _with_border(1, 2, 8).astype("float32"),
    "0/1/255 divided by 255": _with_border(1, 255, 8) / np.float32(255),
    "two annotators": _with_border(2, 1, 8) / 2,
    "1 and 2": DISC + np.uint8(1),
    "38 and 255": np.where(DISC, 38, 255).astype("uint8"),
    "100 and 200": np.where(DISC, 100, 200).astype("uint8"),
    "254 and 255": np.where(DISC, 254, 255).astype("uint8"),
    "-1 and 0": DISC.astype("int8") - 1,
    "-1 alone": np.full((4, 4), -1),
    "cup and rim, JPEG": _jpeg(_with_border(255, 128, 12), 75),
    "class and void, JPEG": _jpeg(_with_border(15, 255, 4), 75),
    "0/100, JPEG": _jpeg(np.where(DISC, 100, 0).astype("uint8"), 75),
    "0/128, JPEG": _jpeg(np.where(DISC, 128, 0).astype("uint8"), 75),
    "0/200, JPEG": _jpeg(np.where(DISC, 200, 0).astype("uint8"), 75),
    "100/200, JPEG": _jpeg(np.where(DISC, 100, 200).astype("uint8"), 75),
    "cup and rim, resized": np.asarray(
        Image.fromarray(_with_border(255, 128, 12)).resize((240, 192), Image.Resampling.BILINEAR)
    ),
    "an image": (ROWS * 255 // 95).astype("uint8"),
    "noise": np.random.default_rng(0).integers(0, 256, (64, 64)).astype("uint8"),
}


@pytest.mark.parametrize("array", LABELS.values(), ids=LABELS)
def test_labels_are_refused(array):
    count, highest = len(np.unique(array)), array.max()
    with pytest.raises(InputError) as caught:
        mask_values(array)
    message = str(caught.value)
    assert f"of dtype {array.dtype} that holds {count} different value" in message
    assert f"up to {highest:g}; expected 0 and 1, or 0 and 255" in message
    assert len(message) < 300


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers(value):
    with pytest.raises(InputError, match="holds NaN or infinite values"):
        mask_values(np.array([[0, value, 1]]))
    with pytest.raises(InputError, match="values of type"):
        foreground_scale([np.array([["a"]])])


def test_masks_that_belong_together_are_read_by_one_scale():
    """0 and 1 in one mask, 0 and 2 in another are two labels; each alone looks like a mask."""
    empty, full = np.zeros((8, 8, 1), "uint8"), np.full((8, 8, 1), 255, "uint8")
    half = np.where(np.arange(8)[:, None, None] < 4, full, empty)
    batch = np.stack([empty, full, half])
    np.testing.assert_array_equal(mask_values(batch), batch / 255)
    one, two = half // 255, half // 255 * 2
    assert mask_values(one).max() == mask_values(two).max() == 1
    with pytest.raises(InputError, match="holds 3 different values up to 2"):
        mask_values(np.stack([one, two]))
    with pytest.raises(InputError, match="holds 3 different values up to 255"):
        mask_values(np.stack([one, half]))
    assert foreground_scale([empty[..., 0], half[..., 0]]) == 255
    assert foreground_scale([]) == foreground_scale([np.zeros((0, 4))]) == 1
    assert unit_mask(half, 255).tolist() == (half / 255).tolist()
