import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.data import draw_overlay, write_overlay
from keras_espmedsam.errors import InputError

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


def test_sizes_must_be_equal():
    with pytest.raises(InputError, match=r"mask of \(40, 40\) for an image of \(2, 2\)"):
        draw_overlay(np.zeros((2, 2), np.uint8), square())


def test_write_overlay(tmp_path):
    image = np.full((40, 40), 100, np.uint8)
    write_overlay(tmp_path / "overlay.png", image, square())
    with Image.open(tmp_path / "overlay.png") as written:
        np.testing.assert_array_equal(np.asarray(written), draw_overlay(image, square()))
