import io

import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.mask_colours import mask_array, mask_channels

INSIDE = np.zeros((40, 40), bool)
INSIDE[10:20, 12:24] = True


def _two(back, front):
    """An image of two colours, or of grey values, or of these with alpha."""
    array = np.where(INSIDE[..., None], np.array(front, "uint8"), np.array(back, "uint8"))
    return Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)


def _palette(*colours, front=1, back=0, transparency=None):
    image = Image.new("P", INSIDE.shape, back)
    image.putpalette([channel for colour in colours for channel in colour])
    image.paste(front, (12, 10, 24, 20))
    if transparency is not None:
        image.info["transparency"] = transparency
    return image


def _stored(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return Image.open(file)


BLACK, WHITE, RED, BLUE = (0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)
CLEAR_BLACK, CLEAR_WHITE = (*BLACK, 0), (*WHITE, 0)
VOC = [BLACK, (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]

READ = {
    "grey": (_two([0], [255]), 0, 255),
    "white around black": (_two([255], [0]), 255, 0),
    "1 bit": (Image.fromarray(INSIDE), 0, 255),
    "16 bits": (Image.fromarray(INSIDE * np.uint16(40000)), 0, 40000),
    "floats": (Image.fromarray(INSIDE.astype("float32")), 0, 1),
    "grey in RGB": (_two(BLACK, WHITE), 0, 255),
    "red on black": (_two(BLACK, RED), 0, 255),
    "dark red on black": (_two(BLACK, (128, 0, 0)), 0, 128),
    "pink on black": (_two(BLACK, (255, 128, 200)), 0, 255),
    "one colour": (_two(RED, RED), 255, 255),
    "opaque": (_two((*BLACK, 255), (*WHITE, 255)), 0, 255),
    "half transparent throughout": (_two((*BLACK, 128), (*WHITE, 128)), 0, 255),
    "alpha of 0 throughout": (_two(CLEAR_BLACK, CLEAR_WHITE), 0, 255),
    "an empty layer": (_two(CLEAR_BLACK, CLEAR_BLACK), 0, 0),
    "black ink": (_two(CLEAR_BLACK, (*BLACK, 255)), 0, 255),
    "white ink": (_two(CLEAR_WHITE, (*WHITE, 255)), 0, 255),
    "red ink on black": (_two(CLEAR_BLACK, (*RED, 255)), 0, 255),
    "red ink on white": (_two(CLEAR_WHITE, (*RED, 255)), 0, 255),
    "pale ink": (_two(CLEAR_BLACK, (*RED, 100)), 0, 100),
    "grey with alpha": (_two((0, 255), (255, 255)), 0, 255),
    "ink in grey with alpha": (_two((0, 0), (0, 255)), 0, 255),
    "CMYK": (_two(BLACK, WHITE).convert("CMYK"), 0, 255),
    "HSV": (_two(BLACK, RED).convert("HSV"), 0, 255),
    "palette of VOC": (_palette(*VOC), 0, 1),
    "palette of VOC, class 4": (_palette(*VOC, front=4), 0, 4),
    "palette of VOC, empty": (_palette(*VOC, front=0), 0, 0),
    "palette of VOC, full": (_palette(*VOC, back=1), 1, 1),
    "black palette": (_palette(BLACK, BLACK), 0, 1),
    "palette of greys": (_palette(BLACK, WHITE), 0, 255),
    "palette of greys, white first": (_palette(WHITE, BLACK), 255, 0),
    "palette for the web": (_two(BLACK, WHITE).convert("P"), 0, 225),
    "palette with a transparent background": (_palette(WHITE, RED, transparency=0), 0, 1),
}
REFUSED = {
    "red on blue": (_two(BLUE, RED), "in several colours; expected one colour on black"),
    "red on white": (_two(WHITE, RED), "in several colours"),
    "red on dark blue": (_two((0, 0, 90), RED), "in several colours"),
    "1 in colours": (_two((0, 1, 0), (1, 0, 0)), "in several colours"),
    "small numbers in colours": (_two((0, 3, 0), (3, 0, 0)), "in several colours"),
    "red and blue, JPEG": (_stored(_two(BLUE, RED), "JPEG"), "in several colours"),
    "a photograph": (
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype("uint8")),
        "in several colours",
    ),
    "black ink on a white layer": (_two(CLEAR_WHITE, (*BLACK, 255)), "contradict each other"),
    "a full or an empty layer": (_two(CLEAR_WHITE, CLEAR_WHITE), "transparent everywhere"),
    "palette, red first": (_palette(RED, BLACK), "disagree about the background"),
    "palette, white first and red": (_palette(WHITE, RED), "disagree about the background"),
    "palette, white first and empty": (_palette(WHITE, RED, front=0), "disagree about"),
    "palette, red and blue": (_palette(RED, BLUE), "disagree about the background"),
    "palette, one class black": (_palette(BLACK, BLACK, RED), "disagree about the background"),
    "palette with a transparent foreground": (
        _palette(BLACK, RED, transparency=1),
        "disagree about the background",
    ),
    "0 and 1, JPEG": (_stored(_two([0], [1]), "JPEG", quality=95), "whose largest value is 1"),
    "empty, JPEG of low quality": (
        _stored(_two([0], [0]), "JPEG", quality=15),
        "whose largest value is 2",
    ),
}


@pytest.mark.parametrize(("image", "back", "front"), READ.values(), ids=READ)
def test_what_shows_the_mask_is_read(image, back, front):
    expected = np.where(INSIDE, front, back)
    np.testing.assert_array_equal(mask_array(image), expected)
    if image.mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        np.testing.assert_array_equal(mask_array(_stored(image)), expected)


@pytest.mark.parametrize(("image", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_tell_is_refused(image, message):
    with pytest.raises(InputError, match=message) as caught:
        mask_array(image)
    assert str(caught.value).endswith("Save the foreground as a grey mask of 0 and 255.")


@pytest.mark.parametrize("quality", [50, 75, 95])
def test_grey_in_a_coloured_jpeg(quality):
    """Also where its channels are apart by noise, as after a second compression."""
    image = np.asarray(_stored(_two(BLACK, WHITE), "JPEG", quality=quality)).astype(int)
    noisy = np.clip(image + np.random.default_rng(0).integers(-4, 5, image.shape), 0, 255)
    for array in (image, noisy):
        found = mask_array(_stored(Image.fromarray(array.astype("uint8")), "JPEG", quality=quality))
        assert ((found > 127) != INSIDE).mean() < 0.01


def test_soft_edges_of_one_colour():
    large = _two(BLACK, (250, 20, 60)).resize((100, 100), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(mask_array(large), np.asarray(large)[..., 0])
    ink = _two((250, 20, 60, 0), (250, 20, 60, 255)).resize((100, 100), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(mask_array(ink), np.asarray(ink)[..., 3])


def test_frames_of_a_gif_and_palettes_of_a_tiff():
    frames = [_two([0], [255]), _two([255], [255])]
    gif = _stored(frames[0], "GIF", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(mask_array(gif), INSIDE * 255)
    gif.seek(1)
    assert (mask_array(gif) == 255).all()
    np.testing.assert_array_equal(mask_array(_stored(_palette(*VOC), "TIFF")), INSIDE)


def test_channels_of_deep_arrays():
    array = np.zeros((2, 3, 4), "uint16")
    array[..., 3] = [[0, 65535, 0], [0, 65535, 30000]]
    assert mask_channels(array).tolist() == array[..., 3].tolist()
    red = np.zeros((2, 3, 3), "float32")
    red[0, :, 0] = [0, 0.5, 1]
    assert mask_channels(red).tolist() == [[0, 0.5, 1], [0, 0, 0]]
    assert mask_channels(np.array([[[7], [0]]], "uint8")).tolist() == [[7, 0]]
    blue_and_red = np.where([[[1], [0]]], [0, 0, 9], [9, 0, 0]).astype("uint16")
    with pytest.raises(InputError, match="in several colours"):
        mask_channels(blue_and_red)
    with pytest.raises(InputError, match="a mask of 5 channels; expected 1"):
        mask_channels(np.zeros((2, 2, 5), "uint8"))
