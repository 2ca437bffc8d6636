import numpy as np
import pytest
from PIL import Image, ImageOps

from keras_espmedsam.data.layout import UPRIGHT, Layout

STORED = np.arange(6, dtype=np.uint8).reshape(2, 3)


@pytest.mark.parametrize("number", range(1, 9))
@pytest.mark.parametrize("channels", [False, True])
def test_the_eight_orientations_of_exif(number, channels):
    stored = np.stack([STORED, STORED + 9, STORED * 2], axis=-1) if channels else STORED
    image = Image.fromarray(stored)
    image.getexif()[0x0112] = number
    layout = Layout.from_exif(number)
    assert layout.exif == number
    upright = layout.apply(stored)
    np.testing.assert_array_equal(upright, np.asarray(ImageOps.exif_transpose(image)))
    np.testing.assert_array_equal(layout.undo(upright), stored)


@pytest.mark.parametrize("number", [0, 9, 77, None])
def test_what_is_no_orientation_is_upright(number):
    assert Layout.from_exif(number) == UPRIGHT == Layout()
