import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import draw_overlay, write_overlay
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging import bands

GREEN = [40, 255, 120]


def square(size=40):
    mask = np.zeros((size, size), bool)
    mask[10:30, 10:30] = True
    return mask


def test_contour_fill_rim_and_the_rest():
    drawn = draw_overlay(np.full((40, 40), 100, np.uint8), square())
    assert drawn[10, 20].tolist() == drawn[20, 29].tolist() == GREEN
    assert drawn[20, 20].tolist() == [int(70 + 0.3 * value) for value in GREEN]
    assert drawn[9, 20].tolist() == [35] * 3
    outside = np.ones((40, 40), bool)
    outside[9:31, 9:31] = False
    assert (drawn[outside] == 100).all()


@pytest.mark.parametrize("value", [0, 255])
def test_the_contour_stands_out_on_black_and_on_white(value):
    drawn = draw_overlay(np.full((40, 40), value, np.uint8), square()).astype(int)
    assert abs(drawn[10, 20] - drawn[9, 20]).max() > 100


def test_kinds_of_images():
    mask = np.zeros((2, 2))
    for image in (
        np.full((2, 2), 0x8080, np.uint16),
        np.full((2, 2, 3), 128 / 255, np.float32),
        np.full((2, 2, 4), 128, np.uint8),
    ):
        assert (draw_overlay(image, mask) == 128).all()


def test_masks_at_the_border_and_of_one_pixel():
    assert (draw_overlay(np.zeros((3, 3), np.uint8), np.ones((3, 3)))[0] == GREEN).all()
    assert draw_overlay(np.zeros((1, 1), np.uint8), np.ones((1, 1))).tolist() == [[GREEN]]


def test_the_image_itself_is_not_changed():
    image = np.full((40, 40, 3), 9, np.uint8)
    draw_overlay(image, square())
    assert (image == 9).all()


@pytest.mark.parametrize("kind", ["one", "edges", "specks", "all", "low", "right"])
@pytest.mark.parametrize("shape", [(40, 50), (21, 1700), (1700, 21)])
def test_a_large_image_is_drawn_on_in_bands_to_the_same_values(monkeypatch, tmp_path, kind, shape):
    mask = np.zeros(shape, bool)
    height, width = shape
    if kind == "one":
        mask[height // 4 : -height // 4, width // 4 : -width // 4] = True
    elif kind == "edges":
        mask[:3], mask[-9:], mask[:, -2:] = True, True, True
    elif kind == "specks":
        mask[np.random.default_rng(0).random(shape) < 0.01] = True
    elif kind == "all":
        mask[...] = True
    elif kind == "low":
        mask[-1, width // 2] = True
    else:
        mask[:, width // 2 :] = True
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype("uint8")
    expected = draw_overlay(image, mask)
    monkeypatch.setattr(bands, "BAND_VALUES", 900)
    np.testing.assert_array_equal(draw_overlay(image, mask), expected)
    write_overlay(tmp_path / "overlay.png", image, mask)
    with Image.open(tmp_path / "overlay.png") as written:
        np.testing.assert_array_equal(np.asarray(written), expected)


def test_sizes_must_be_equal():
    with pytest.raises(InputError, match=r"mask of shape \(40, 40\) for an image of \(2, 2\)"):
        draw_overlay(np.zeros((2, 2), np.uint8), square())


def test_write_overlay(tmp_path):
    image = np.full((40, 40), 100, np.uint8)
    write_overlay(tmp_path / "overlay.png", image, square())
    with Image.open(tmp_path / "overlay.png") as written:
        np.testing.assert_array_equal(np.asarray(written), draw_overlay(image, square()))


# === Several targets ===

BLUE, YELLOW = [86, 180, 233], [240, 228, 66]
NAMES = ("vessels", "optic_disc")


def filled(value, colour):
    return [int(value * (1 - 0.3) + 0.3 * part) for part in colour]


def two():
    """A square, and a smaller one inside it."""
    masks = np.zeros((40, 40, 2), bool)
    masks[..., 0] = square()
    masks[15:25, 15:25, 1] = True
    return masks


def test_each_target_has_its_colour_and_a_name_below():
    drawn = draw_overlay(np.full((40, 40), 100, np.uint8), two(), NAMES)
    assert drawn.shape[0] == 40 + 2 * 24 and drawn.shape[1] > 40
    assert drawn[10, 20].tolist() == BLUE and drawn[15, 20].tolist() == YELLOW
    assert drawn[12, 12].tolist() == filled(100, BLUE)
    assert drawn[20, 20].tolist() == filled(filled(100, BLUE)[0], YELLOW[:1]) + [
        int(filled(100, BLUE)[k] * (1 - 0.3) + 0.3 * YELLOW[k]) for k in (1, 2)
    ]
    assert drawn[5, 5].tolist() == [100] * 3 and not drawn[:40, 40:].any()
    for colour in (BLUE, YELLOW):
        assert (drawn[40:] == colour).all(-1).sum() == 144


def test_a_contour_is_never_covered_by_another_target():
    masks = two()[..., ::-1]
    drawn = draw_overlay(np.full((40, 40), 100, np.uint8), masks, NAMES)
    assert drawn[15, 20].tolist() == BLUE and drawn[10, 20].tolist() == YELLOW


def test_one_target_is_drawn_as_ever():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype("uint8")
    plain = draw_overlay(image, square())
    for mask, names in ((square()[..., None], ()), (square()[..., None], ("nuclei",))):
        np.testing.assert_array_equal(draw_overlay(image, mask, names), plain)
    np.testing.assert_array_equal(draw_overlay(image, square(), ("mask",)), plain)


def test_a_target_keeps_its_colour_where_others_are_left_out():
    image = np.full((40, 40), 100, np.uint8)
    drawn = draw_overlay(image, square()[..., None], ("optic_disc",), known=NAMES)
    assert drawn[10, 20].tolist() == YELLOW
    assert (drawn[40:] == YELLOW).all(-1).any() and not (drawn[40:] == BLUE).all(-1).any()


def test_each_object_has_a_contour():
    labels = np.zeros((40, 40), np.int32)
    labels[10:30, 10:20], labels[10:30, 20:30] = 7, 3
    drawn = draw_overlay(
        np.full((40, 40), 100, np.uint8), labels[..., None] > 0, ("nuclei",), {"nuclei": labels}
    )
    line = (drawn == GREEN).all(-1)
    expected = np.zeros((40, 40), bool)
    expected[10:30, [10, 19, 20, 29]] = expected[[10, 29], 10:30] = True
    np.testing.assert_array_equal(line, expected)
    assert drawn[9, 20].tolist() == [35] * 3


@pytest.mark.parametrize("shape", [(40, 50), (21, 1700), (1700, 21)])
def test_several_targets_and_objects_are_the_same_in_bands(monkeypatch, tmp_path, shape):
    random = np.random.default_rng(0)
    masks = random.random((*shape, 3)) < 0.01
    masks[shape[0] // 4 : -shape[0] // 4, :, 2] = True
    instances = {"c": (masks[..., 2] * random.integers(1, 4, shape)).astype(np.int32)}
    image = random.integers(0, 256, (*shape, 3)).astype("uint8")
    expected = draw_overlay(image, masks, "abc", instances)
    monkeypatch.setattr(bands, "BAND_VALUES", 900)
    np.testing.assert_array_equal(draw_overlay(image, masks, "abc", instances), expected)
    write_overlay(tmp_path / "overlay.png", image, masks, "abc", instances)
    with Image.open(tmp_path / "overlay.png") as written:
        np.testing.assert_array_equal(np.asarray(written), expected)


@pytest.mark.parametrize(
    ("mask", "more", "words"),
    [
        (np.zeros((4, 6, 2)), ((),), r"2 masks and the targets \(\)"),
        (np.zeros((4, 6, 2)), (("a", "a"),), "a different name for each mask"),
        (np.zeros((4, 6)), (("a", "b"),), "1 masks and the targets"),
        (np.zeros((4, 6, 1, 1)), ((),), "mask of shape"),
        (np.zeros((4, 6)), (("a",), None, ("b", "c")), "lacks a; expected the names of all"),
        (np.zeros((4, 6)), (("a",), {"a": np.zeros((4, 4))}), r"instances of shape \(4, 4\)"),
    ],
)
def test_what_does_not_fit_is_a_sentence(mask, more, words):
    with pytest.raises(InputError, match=words):
        draw_overlay(np.zeros((4, 6), np.uint8), mask, *more)
