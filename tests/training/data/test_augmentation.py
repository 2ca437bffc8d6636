import dataclasses

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.training import (
    MEDICAL_RANGES,
    AppearanceTransform,
    Augmentation,
    make_appearance,
)

STILL = Augmentation(
    horizontal_flip=0,
    rotation=0,
    scale=(1, 1),
    shift=0,
    stretch=0,
    brightness=0,
    contrast=0,
    saturation=0,
)
MARK = np.zeros((64, 80), bool)
# Off the middle and longer than wide: it shows every flip and turn.
MARK[14:30, 18:52] = True


FILL = (124, 116, 104)


@dataclasses.dataclass(frozen=True)
class Negative(AppearanceTransform):
    def change(self, image, rng, partner):
        return 255 - image


class EarlyNegative(Negative):
    before_moving = True


def _image(mask):
    """White on what is also moved in from outside, so that one threshold finds the mark."""
    return np.where(mask[..., None], 255, FILL).astype("uint8")


def _change(mask=MARK, seed=0, **options):
    augmentation = dataclasses.replace(STILL, **options)
    return augmentation(_image(mask), mask, np.random.default_rng(seed))


def _dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_nothing_asked_nothing_changed():
    image, mask = _change()
    np.testing.assert_array_equal(image, _image(MARK))
    np.testing.assert_array_equal(mask, MARK)


@pytest.mark.parametrize(
    ("options", "flip"),
    [
        ({"horizontal_flip": 1}, lambda x: x[:, ::-1]),
        ({"vertical_flip": 1}, lambda x: x[::-1]),
        ({"horizontal_flip": 1, "vertical_flip": 1}, lambda x: x[::-1, ::-1]),
    ],
)
def test_flips_are_exact(options, flip):
    image, mask = _change(**options)
    np.testing.assert_array_equal(mask, flip(MARK))
    np.testing.assert_array_equal(image, flip(_image(MARK)))


def test_right_angles_are_exact_on_a_square():
    square = MARK[:, :64]
    turns = [np.rot90(square, k) for k in range(4)]
    seen = set()
    for seed in range(20):
        image, mask = _change(square, seed, right_angles=True)
        (k,) = (k for k in range(4) if (turns[k] == mask).all())
        # A value may round down: the cosine of a right angle is 6e-17.
        np.testing.assert_allclose(image, np.rot90(_image(square), k), atol=1)
        seen.add(k)
    assert seen == {0, 1, 2, 3}


def test_right_angles_only_on_squares():
    for seed in range(5):
        np.testing.assert_array_equal(_change(seed=seed, right_angles=True)[1], MARK)


@pytest.mark.parametrize(
    "options",
    [
        {"rotation": 45},
        {"scale": (0.6, 1.5)},
        {"shift": 0.2},
        {"stretch": 0.3},
        dict(horizontal_flip=0.5, vertical_flip=0.5, rotation=30, scale=(0.8, 1.3), shift=0.1),
        dict(rotation=15, brightness=0.2, contrast=0.2, saturation=0.2, blur=1.0),
        *(vars(augmentation) for augmentation in MEDICAL_RANGES.values()),
    ],
    ids=lambda options: " ".join(map(str, options.values())),
)
def test_image_and_mask_move_together(options):
    moved = 0
    for seed in range(8):
        image, mask = _change(seed=seed, **options)
        assert image.shape == (64, 80, 3)
        assert (image.dtype, mask.shape, mask.dtype) == (np.uint8, (64, 80), bool)
        grey = image.mean(-1)
        assert _dice(grey > (grey.min() + grey.max()) / 2, mask) > 0.9
        moved += _dice(mask, MARK) < 0.95
    assert moved >= 3


def test_magnification_grows_the_area_by_its_square():
    mask = np.zeros((64, 64), bool)
    mask[24:40, 24:40] = True
    assert _change(mask, scale=(2, 2))[1].sum() == pytest.approx(4 * 256, rel=0.03)
    assert _change(mask, scale=(0.5, 0.5))[1].sum() == pytest.approx(256 / 4, rel=0.03)


def test_shift_by_hand():
    class Fixed:
        """The generator's answers: no turn, no scale, no stretch, no flip, then this shift."""

        def uniform(self, low, high, size=None):
            return 0.0 if size is None else np.array([0.125, -0.25])

        def random(self):
            return 1.0

    augmentation = dataclasses.replace(STILL, shift=0.25)
    mask = augmentation(_image(MARK), MARK, Fixed())[1]
    # An eighth of 80 to the right, a quarter of 64 up.
    expected = np.zeros_like(MARK)
    expected[0:14, 28:62] = True
    np.testing.assert_array_equal(mask, expected)


def _on_canvas(canvas, mask=MARK, seed=0, **options):
    augmentation = dataclasses.replace(STILL, **options)
    return augmentation(_image(mask), mask, np.random.default_rng(seed), canvas=canvas)


def test_a_canvas_of_the_images_size_changes_nothing():
    image, mask = _on_canvas((64, 80))
    np.testing.assert_array_equal(image, _image(MARK))
    np.testing.assert_array_equal(mask, MARK)


def test_a_smaller_canvas_shows_every_part_at_the_images_scale():
    # Each pixel its own place: what the crop shows tells where it was cut.
    rows, columns = np.mgrid[:64, :80]
    source = np.stack([rows, columns, 0 * rows], axis=-1).astype("uint8")
    corners = []
    for seed in range(200):
        image, mask = STILL(source, MARK, np.random.default_rng(seed), canvas=(32, 48))
        assert (image.shape, mask.shape) == ((32, 48, 3), (32, 48))
        top, left = image[0, 0, :2].astype(int)
        corners.append((top, left))
        # Cut between two pixels, both are sampled: within one of the whole pixel's place.
        expected = source[top : top + 32, left : left + 48].astype(int)
        assert np.abs(image[: len(expected), : expected.shape[1]] - expected).max() <= 1
        cut = MARK[top : top + 32, left : left + 48]
        # At most a row and a column of the mark come in or go out by rounding.
        assert abs(int(mask.sum()) - int(cut.sum())) <= 50
    corners = np.array(corners)
    assert corners.min() <= 1
    np.testing.assert_allclose(corners.max(0), [32, 32], atol=1)
    np.testing.assert_allclose(corners.mean(0), [16, 16], atol=2.5)


def test_a_larger_canvas_holds_all_of_the_image_anywhere():
    places = set()
    for seed in range(20):
        image, mask = _on_canvas((96, 96), np.ones((64, 80), bool), seed)
        assert mask.sum() == pytest.approx(64 * 80, rel=0.03)
        outside = image[:2] if mask[-1].any() or mask[-2].any() else image[-2:]
        np.testing.assert_array_equal(outside, np.broadcast_to(FILL, outside.shape))
        places.add(tuple(np.argwhere(mask).min(0)))
    assert len(places) > 10


def test_magnification_on_a_canvas():
    for scale in (0.5, 1.0):
        mask = _on_canvas((96, 96), scale=(scale, scale))[1]
        assert mask.sum() == pytest.approx(scale**2 * MARK.sum(), rel=0.08)
    # 128 x 160 on 64 x 80: a quarter of it, on average.
    areas = [_on_canvas((64, 80), np.ones((64, 80), bool), s, scale=(2, 2))[1] for s in range(4)]
    assert all(area.mean() > 0.95 for area in areas)


def test_right_angles_on_a_canvas_turn_any_image():
    wide = np.zeros((20, 60), bool)
    wide[:, 2:58] = True
    ratios = set()
    for seed in range(20):
        mask = _on_canvas((64, 64), wide, seed, right_angles=True)[1]
        assert mask.sum() == pytest.approx(wide.sum(), rel=0.05)
        low, high = np.argwhere(mask).min(0), np.argwhere(mask).max(0)
        ratios.add(bool((high - low)[0] > (high - low)[1]))
    assert ratios == {False, True}


def test_colour_leaves_the_mask_alone():
    geometry = dict(horizontal_flip=0.5, rotation=20, scale=(0.8, 1.2), shift=0.1)
    image, mask = _change(**geometry)
    coloured, same = _change(**geometry, brightness=0.3, contrast=0.3, blur=1.0)
    np.testing.assert_array_equal(mask, same)
    assert (image != coloured).any()


def test_what_moves_in_is_neutral():
    image, mask = _change(np.ones((64, 80), bool), scale=(0.5, 0.5))
    np.testing.assert_array_equal(image[0, 0], FILL)
    assert not mask[0, 0]
    assert mask[32, 40]


def test_the_generator_decides():
    options = dict(rotation=20, scale=(0.8, 1.2), brightness=0.2)
    for one, other in zip(_change(**options), _change(**options), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (_change(seed=1, **options)[1] != _change(**options)[1]).any()


def test_an_image_without_a_mask_is_changed_alike():
    options = dict(rotation=20, scale=(0.8, 1.2), brightness=0.2, blur=0.5)
    augmentation = dataclasses.replace(STILL, **options)
    image, mask = augmentation(_image(MARK), None, np.random.default_rng(0))
    assert mask is None
    np.testing.assert_array_equal(image, _change(**options)[0])


def test_a_configuration_says_what_differs_from_the_default():
    config = {"rotation": 30, "scale": [0.9, 1.2], "right_angles": True}
    augmentation = Augmentation.from_config(config)
    assert augmentation == Augmentation(rotation=30, scale=(0.9, 1.2), right_angles=True)
    assert Augmentation.from_config({}) == Augmentation()
    for one in MEDICAL_RANGES.values():
        assert Augmentation.from_config(dataclasses.asdict(one)) == one


def test_a_misspelt_key_is_refused_by_name():
    with pytest.raises(
        InputError, match=r"Received rotaton, blurr for .*; expected some of horizo"
    ):
        Augmentation.from_config({"rotaton": 3, "scale": [1, 1], "blurr": 1})
    with pytest.raises(
        InputError, match=r"Received \[30\] for an augmentation; expected its argumen"
    ):
        Augmentation.from_config([30])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("horizontal_flip", 1.5),
        ("right_angles", 1),
        ("rotation", "ten"),
        ("rotation", 200),
        ("scale", [0.9, 1.2, 3]),
        ("scale", [1.2, 0.9]),
        ("scale", 2),
        ("shift", -0.1),
        ("stretch", float("nan")),
        ("blur", None),
    ],
)
def test_values_that_cannot_be_used(name, value):
    with pytest.raises(InputError, match=f"Received {name}=.* for an augmentation; expected "):
        Augmentation.from_config({name: value})


def test_several_masks_move_as_each_would_alone():
    augmentation = dataclasses.replace(STILL, rotation=30, scale=(0.7, 1.4), shift=0.2)
    masks = np.stack([MARK, MARK[::-1], np.zeros_like(MARK)], axis=-1)
    for canvas in (None, (40, 90)):
        _, moved = augmentation(_image(MARK), masks, np.random.default_rng(5), canvas=canvas)
        assert moved.dtype == bool
        for channel in range(3):
            mask = masks[..., channel]
            rng = np.random.default_rng(5)
            _, alone = augmentation(_image(MARK), mask, rng, canvas=canvas)
            np.testing.assert_array_equal(moved[..., channel], alone)


def test_appearance_comes_after_the_geometry_and_leaves_the_mask():
    options = dict(rotation=20, scale=(0.8, 1.2), shift=0.1)
    image, mask = _change(**options)
    negative = Negative(1.0)
    changed, same = _change(**options, appearance=(negative,))
    np.testing.assert_array_equal(same, mask)
    np.testing.assert_array_equal(changed, 255 - image)


def test_appearance_before_the_geometry_is_of_what_the_image_shows_alone():
    canvas = np.full((64, 80, 3), FILL, "uint8")
    canvas[:40, :50] = 10
    augmentation = dataclasses.replace(STILL, appearance=(EarlyNegative(1.0),))
    image, _ = augmentation(canvas, None, np.random.default_rng(0), canvas=(64, 80))
    assert (image[:40, :50] == 245).all()
    np.testing.assert_array_equal(image[40:], canvas[40:])
    assert (canvas[:40, :50] == 10).all()


def test_a_transform_that_is_not_applied_draws_one_number():
    """What is drawn before it, such as the geometry, does not depend on it."""
    options = dict(rotation=20, scale=(0.8, 1.2), brightness=0.3)
    plain = _change(**options)
    for one, other in zip(plain, _change(**options, appearance=(Negative(0.0),)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_blur_is_that_of_the_transform():
    (blur,) = make_appearance({"blur": 0.7})
    for seed in range(6):
        image, _ = _change(seed=seed, blur=0.7)
        other, _ = _change(seed=seed, appearance=(blur,))
        np.testing.assert_array_equal(image, other)


def test_appearance_of_a_configuration():
    given = {"rotation": 3, "appearance": {"gamma": 0.5, "jpeg": {"quality": [40, 90]}}}
    made = Augmentation.from_config(given)
    assert made.appearance == make_appearance(given["appearance"])
    assert [one.probability for one in made.appearance] == [0.5, 0.2]
    assert Augmentation.from_config({"appearance": "none"}).appearance == ()
    with pytest.raises(InputError, match=r"Received \['gamma'\] for the appearance; expected "):
        Augmentation.from_config({"appearance": ["gamma"]})
    with pytest.raises(InputError, match=r"appearance=.*; expected a tuple of AppearanceTransform"):
        Augmentation(appearance=("gamma",))
