import numpy as np
import pytest

from keras_espmedsam.imaging import legend
from keras_espmedsam.imaging.legend import draw_legend
from keras_espmedsam.imaging.target_colours import target_colours

COLOURS = target_colours(("vessels", "optic_disc", "optic_cup"))


def places(strip, colour):
    return np.argwhere((np.asarray(strip) == colour).all(-1))


@pytest.mark.parametrize(
    ("size", "letters"), [((256, 256), 12), ((900, 1350), 30), ((90, 20000), 200)]
)
def test_each_name_is_beside_a_square_of_its_colour(size, letters):
    strip = draw_legend(COLOURS, size)
    assert strip.width == size[1] and strip.height % (2 * letters) == 0
    pixels = np.asarray(strip)
    for colour in COLOURS.values():
        square = places(strip, colour)
        top, left = square.min(0)
        bottom, right = square.max(0)
        assert (bottom - top + 1, right - left + 1) == (letters, letters)
        # White letters follow, from half a letter to the right of the square on.
        beside = pixels[top : bottom + 1, right + 1 :][:, : 2 * letters]
        assert beside.max() > 200 and beside[:, : letters // 3].max() < 60


def test_rows_are_as_wide_as_the_image_and_one_name_always_fits():
    one_row, two_rows = draw_legend(COLOURS, (200, 300)), draw_legend(COLOURS, (200, 200))
    assert one_row.size == (300, 24) and two_rows.size == (200, 48)
    tiny = draw_legend(COLOURS, (4, 6))
    assert tiny.height == 72 and 70 < tiny.width < 120
    lefts = {tuple(places(tiny, colour).min(0)) for colour in COLOURS.values()}
    assert lefts == {(6, 6), (30, 6), (54, 6)}
    assert not (np.asarray(tiny)[:, -2:] == 255).any()  # No name is cut.


def test_a_pillow_without_freetype_has_a_small_font(monkeypatch):
    load = legend.ImageFont.load_default

    def without(size=None):
        if size is not None:
            raise ImportError("The _imagingft C module is not installed")
        return load_bitmap()

    load_bitmap = legend.ImageFont.load_default_imagefont
    assert load(12) is not None
    monkeypatch.setattr(legend.ImageFont, "load_default", without)
    strip = draw_legend(COLOURS, (400, 400))
    assert strip.width == 400 and np.asarray(strip).max() == 255
