"""What holds for every change of appearance, over their registry."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.registries import appearance_transforms
from keras_espmedsam.training import AppearanceTransform, make_appearance
from keras_espmedsam.training.data.appearance.make_appearance import STANDARD

RNG = np.random.default_rng(0)
# Smooth, as images are, with a hard edge.
ROWS, COLUMNS = np.mgrid[:48, :64]
IMAGE = np.stack([60 + 2 * ROWS, 40 + COLUMNS, 90 + 30 * (ROWS > COLUMNS)], -1).astype("uint8")
GREY = IMAGE[..., :1].repeat(3, axis=-1)
PARTNER = RNG.integers(0, 255, (30, 20, 3)).astype("uint8")
NAMES = appearance_transforms.names()


def changed(name, image=IMAGE, seed=0, **arguments):
    (transform,) = make_appearance({name: {"probability": 1.0, **arguments}})
    return transform(image, np.random.default_rng(seed), lambda rng: PARTNER)


@pytest.mark.parametrize("name", NAMES)
def test_the_generator_decides(name):
    before = IMAGE.copy()
    one, same, other = changed(name), changed(name), changed(name, seed=1)
    assert (one.shape, one.dtype) == (IMAGE.shape, np.uint8)
    np.testing.assert_array_equal(one, same)
    assert (one != IMAGE).any() and (one != other).any()
    np.testing.assert_array_equal(IMAGE, before)


@pytest.mark.parametrize("name", NAMES)
def test_grey_images_stay_grey(name):
    grey = changed(name, GREY)
    np.testing.assert_array_equal(grey, grey[..., :1].repeat(3, axis=-1))


@pytest.mark.parametrize("name", NAMES)
def test_a_probability_is_the_share_of_images_that_change(name):
    (transform,) = make_appearance({name: 0.25})
    rng = np.random.default_rng(0)
    same = [transform(IMAGE, rng, lambda rng: PARTNER) is IMAGE for _ in range(200)]
    assert np.mean(same) == pytest.approx(0.75, abs=0.1)
    assert issubclass(appearance_transforms.load(name), AppearanceTransform)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_any_size(name):
    for size in ((1, 1), (3, 64)):
        assert changed(name, IMAGE[: size[0], : size[1]]).shape == (*size, 3)


def test_the_standard_is_all_that_is_built_in():
    assert STANDARD == NAMES[: len(STANDARD)]
    assert make_appearance("standard") == make_appearance({name: {} for name in STANDARD[::-1]})
    assert make_appearance("none") == make_appearance({}) == ()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("strong", "Received 'strong' for the appearance; expected standard, none, or transforms"),
        ({"jpg": 0.2}, r"Received the appearance transform 'jpg'; expected .*did you mean jpeg\?"),
        ({"gamma": "0.3"}, "Received '0.3' for the appearance transform gamma; expected its argum"),
        ({"gamma": 1.5}, "probability=1.5 for the appearance transform Gamma; expected a number f"),
        ({"gamma": {"power": 2}}, "Received power for the appearance transform gamma; expected so"),
        ({"gamma": {"exponent": [0, 1]}}, r"exponent=\(0, 1\) .*; expected two numbers above 0"),
        ({"illumination": {"grid": 1}}, "grid=1 .*; expected a whole number from 2 to 64"),
        ({"illumination": {"strength": -1}}, "strength=-1 .*; expected a number from 0 to 1"),
        ({"channel_gain": {"strength": 2}}, "strength=2 .*; expected a number from 0 to 1"),
        ({"blur": {"sigma": [2, 1]}}, r"sigma=\(2, 1\) .*; expected two numbers of pixels"),
        ({"noise": {"sigma": 3}}, "sigma=3 .*; expected two numbers from 0 to 255"),
        ({"jpeg": {"quality": [30, 99]}}, r"quality=\(30, 99\) .*; expected two whole numbers fr"),
        ({"fourier_mixing": {"band": 0}}, "band=0 .*; expected a number above 0 and up to 0.5"),
    ],
)
def test_what_cannot_be_used(settings, message):
    with pytest.raises(InputError, match=message):
        make_appearance(settings)
