"""Weights of pixels: on the canvas, on the patches, and in fit and evaluate from every source."""

import re

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.placement import Placement
from keras_espmedsam.models.esp_medsam.pixel_weights import (
    place_weighted,
    pool_weighted,
    weigh_classes,
    weight_map,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 40, 56, 3), dtype="uint8")
MASKS = (RNG.random((4, 40, 56, 1)) > 0.7).astype("uint8")
X = {"images": IMAGES, "modalities": np.array([0, 1, 1, 0], "int32")}
# The field of view: most of each image.
VIEW = np.zeros((4, 40, 56, 1), "float32")
VIEW[:, 5:33, 10:50] = 1
TENSORFLOW = keras.backend.backend() == "tensorflow"
SOURCES = ("PyDataset", "tf.data", "grain", "DataLoader", "generator")


# === On the canvas ===

PLACES = {
    "as it is": Placement.of((64, 96), (64, 96)),
    "padded": Placement.of((40, 50), (64, 64)),
    "shrunk": Placement.of((160, 200), (64, 64)),
    "stretched": Placement.of((48, 70), (64, 64), "stretch"),
    "native": Placement.of((40, 50)),
}
each = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


def _mask(place, seed=1):
    return (np.random.default_rng(seed).random(place.size) > 0.5).astype("float32")


@each
@pytest.mark.parametrize("value", [1.0, 0.3, 7.0])
def test_a_constant_map_is_that_constant_everywhere(place, value):
    mask = _mask(place)
    placed, weights = place_weighted(place, mask, np.full(place.size, value, "float32"))
    np.testing.assert_array_equal(placed[..., 0], place.forward_mask(mask))
    np.testing.assert_array_equal(weights, np.full((*place.canvas, 1), value, "float32"))
    _, pooled = pool_weighted(placed[None], weights[None])
    np.testing.assert_array_equal(pooled, np.full(pooled.shape, value, "float32"))


@each
def test_void_pixels_have_no_part_in_the_mask(place):
    height, width = place.size
    weights = np.ones(place.size, "float32")
    weights[height // 3 :, width // 4 : width // 2] = 0
    weights[::7, ::5] = 0  # Also scattered ones.
    mask = _mask(place)
    other = np.where(weights > 0, mask, 1 - mask)
    for a, b in zip(
        place_weighted(place, mask, weights), place_weighted(place, other, weights), strict=True
    ):
        np.testing.assert_array_equal(a, b)


@each
def test_an_image_keeps_its_mean_weight_and_padding_has_it(place):
    weights = RNG.choice([0, 0.5, 1, 3], place.size).astype("float32")
    mean = weights[weights > 0].mean()
    _, drawn = place_weighted(place, _mask(place), weights)
    assert drawn.dtype == np.float32 and drawn.min() >= 0
    assert drawn[drawn > 0].mean() == pytest.approx(mean, rel=1e-5)
    np.testing.assert_allclose(drawn[place.inner[0] :], mean, rtol=1e-6)
    np.testing.assert_allclose(drawn[:, place.inner[1] :], mean, rtol=1e-6)


def test_a_void_region_is_void_on_the_canvas():
    place = PLACES["shrunk"]
    weights = np.ones(place.size, "float32")
    weights[80:] = 0
    placed, drawn = place_weighted(place, np.ones(place.size, "float32"), weights)
    # Of 160 rows 51 are drawn; the 80th lies in the middle of the 25th. Bilinear shrinking
    # spreads a pixel over its neighbours.
    assert not drawn[27:51].any() and not placed[27:51].any()
    assert (drawn[:24] > 0.99).all() and placed[:24].all()
    assert drawn[51:].all() and not placed[51:].any()


def test_where_part_of_a_canvas_pixel_is_void_the_rest_decides():
    place = Placement.of((64, 64), (32, 32))
    mask, weights = np.zeros((64, 64), "float32"), np.zeros((64, 64), "float32")
    mask[20, 20] = weights[20, 20] = weights[40, 40] = 1
    placed, drawn = place_weighted(place, mask, weights)
    # One known pixel among void ones, which shrinking spreads over 2 x 2: they are what it is.
    assert placed[10, 10, 0] == 1 and drawn[10, 10, 0] > 0
    assert placed[20, 20, 0] == 0 and drawn[20, 20, 0] > 0
    assert ((drawn > 0).sum(), placed.sum()) == (8, 4)


def test_an_image_of_no_known_pixel_is_void_with_its_padding():
    placed, drawn = place_weighted(
        PLACES["padded"], np.ones((40, 50), "float32"), np.zeros((40, 50))
    )
    assert not placed.any() and not drawn.any()


def test_patches_of_the_known_pixels():
    masks, weights = np.zeros((1, 64, 64, 1), "float32"), np.ones((1, 64, 64, 1), "float32")
    masks[0, 3, 3] = masks[0, 40, 3] = masks[0, 40, 40] = 1
    weights[0, 3, 3] = 0  # Its foreground is void.
    weights[0, :32, 32:] = 0  # All void.
    weights[0, 32:, :32] = 0
    weights[0, 40, 3] = 5  # All void but the foreground.
    patches, pooled = pool_weighted(masks, weights)
    np.testing.assert_array_equal(patches[0, ..., 0], [[0, 0], [1, 1]])
    np.testing.assert_array_equal(pooled[0, ..., 0], [[1, 0], [5, 1]])


def test_classes_weigh_their_pixels():
    masks = np.zeros((2, 32, 64, 1), "float32")
    masks[0, :16, :32] = 1
    weights, patches, pooled = weigh_classes(masks, [0.5, 3.5])
    np.testing.assert_array_equal(weights, np.where(masks == 1, 3.5, 0.5))
    np.testing.assert_array_equal(pooled[..., 0], [[[2, 0.5]], [[0.5, 0.5]]])
    np.testing.assert_array_equal(patches[..., 0], [[[1, 0]], [[0, 0]]])
    # Foreground that does not count makes no patch foreground.
    weights, patches, pooled = weigh_classes(masks, [1, 0], np.array([2, 4]))
    np.testing.assert_array_equal(weights[0], np.where(masks[0] == 1, 0, 2))
    np.testing.assert_array_equal(pooled[..., 0], [[[2, 2]], [[4, 4]]])
    assert not patches.any()


@pytest.mark.parametrize(
    ("weight", "words"),
    [
        (np.ones((1, 4, 5)), r"shape \(1, 4, 5\).*4 x 5; its channel axis comes first"),
        (np.ones((5, 4)), r"shape \(5, 4\) for an image of 4 x 5"),
        (-np.ones((4, 5)), "values from -1"),
        (np.full((4, 5), np.nan), "NaN"),
        (np.full((4, 5), np.inf), "inf"),
        (np.full((4, 5), 255, "uint8"), "weigh 255 times"),
        (np.full((4, 5), "a"), "dtype <U1"),
    ],
)
def test_maps_that_are_none(weight, words):
    with pytest.raises(InputError, match=f"sample_weight.*{words}"):
        weight_map(weight, (4, 5))


# === In training ===


@pytest.fixture(scope="module")
def plain(build):
    """Without TensorFlow's tracing, which would take most of the time; see `traced`."""
    model = build.plain_segmenter()
    model.compile("sgd", run_eagerly=TENSORFLOW)
    return model


@pytest.fixture(scope="module")
def traced(build, plain):
    """Compiled as a user does; the same as `plain` but for TensorFlow."""
    if not TENSORFLOW:
        return plain
    model = build.plain_segmenter()
    model.compile("sgd")
    return model


def _measures(model, masks=MASKS, weights=None):
    return model.evaluate(
        X, masks, sample_weight=weights, batch_size=2, verbose=0, return_dict=True
    )


def test_void_pixels_have_no_influence_on_any_measure(traced):
    expected = _measures(traced, MASKS, VIEW)
    noise = np.where(VIEW > 0, MASKS, 1 - MASKS).astype("uint8")
    marked = np.where(VIEW > 0, MASKS, 255).astype("uint8")  # By a value that is no mask's.
    for masks in (noise, marked):
        assert _measures(traced, masks, VIEW) == expected
    for name, value in _measures(traced).items():
        assert abs(value - expected[name]) > 1e-4 or name == "patches_loss"


@pytest.mark.parametrize("value", [1.0, 0.25])
def test_a_constant_map_equals_the_weight_of_the_image(plain, value):
    expected = _measures(plain, weights=np.full(4, value, "float32"))
    if value == 1:
        assert expected == pytest.approx(_measures(plain), rel=1e-6)
    found = _measures(plain, weights=np.full((4, 40, 56), value, "float32"))
    assert found == pytest.approx(expected, rel=1e-5)


FORMS = {
    "(n, h, w)": VIEW[..., 0],
    "float64": VIEW.astype("float64"),
    "bool": VIEW > 0,
    "uint8": VIEW.astype("uint8"),
    "list": list(VIEW),
    "tuple of (h, w)": tuple(VIEW[..., 0]),
    "dict": {"masks": VIEW},
    "nested lists": VIEW[..., 0].tolist(),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms(plain, form):
    _, y, weights = plain.prepare_batch(X, MASKS, FORMS[form])
    _, expected_y, expected = plain.prepare_batch(X, MASKS, VIEW)
    for name in ("masks", "patches"):
        np.testing.assert_array_equal(y[name], expected_y[name])
        np.testing.assert_array_equal(weights[name], expected[name])


def test_lists_of_sizes_and_numbers_among_them(plain):
    images, masks = [IMAGES[0], IMAGES[1, :30]], [MASKS[0], MASKS[1, :30]]
    _, y, weights = plain.prepare_batch({"images": images, "modalities": 0}, masks, [VIEW[0], 0.5])
    _, one, expected = plain.prepare_batch(
        {"images": images[:1], "modalities": 0}, masks[:1], VIEW[:1]
    )
    np.testing.assert_array_equal(weights["masks"][0], expected["masks"][0])
    np.testing.assert_array_equal(y["masks"][0], one["masks"][0])
    assert (weights["masks"][1] == 0.5).all() and (weights["patches"][1] == 0.5).all()


def _samples(build, kind):
    """Two by two, with a map each."""

    class Weighted(build.samples):
        def __init__(self):
            super().__init__(X, MASKS)

        def __getitem__(self, index):
            return (*super().__getitem__(index), VIEW[index])

    if kind == "grain":
        import grain

        return grain.MapDataset.source(Weighted()).batch(2).to_iter_dataset()
    if kind == "DataLoader":
        import torch

        return torch.utils.data.DataLoader(Weighted(), batch_size=2)
    if kind == "tf.data":
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((X, MASKS, VIEW)).batch(2)
    rows = [slice(0, 2), slice(2, 4)]
    batches = [({k: v[r] for k, v in X.items()}, MASKS[r], VIEW[r]) for r in rows]
    if kind == "generator":
        return (batch for batch in batches)

    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 2

        def __getitem__(self, index):
            return batches[index]

    return Batches()


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_weighs_alike(plain, traced, kind, build):
    model = traced if kind == "tf.data" else plain  # Its batches are TensorFlow's own.
    expected = _measures(model, MASKS, VIEW)
    found = model.evaluate(_samples(build, kind), verbose=0, return_dict=True)
    for name in ("loss", "masks_dice", "masks_iou"):
        assert found[name] == pytest.approx(expected[name], rel=1e-4)
    history = model.fit(
        _samples(build, kind), validation_data=_samples(build, kind), verbose=0
    ).history
    after = _measures(model, MASKS, VIEW)
    assert history["val_loss"][0] == pytest.approx(after["loss"], rel=1e-4)
    assert history["val_masks_dice"][0] == pytest.approx(after["masks_dice"], rel=1e-4)


def test_single_batches_and_a_split(plain):
    noise = np.where(VIEW > 0, MASKS, 1 - MASKS).astype("uint8")
    found = [plain.test_on_batch(X, m, VIEW, return_dict=True) for m in (MASKS, noise)]
    assert found[0] == found[1]
    history = plain.fit(
        X, MASKS, sample_weight=VIEW, validation_split=0.5, batch_size=2, verbose=0
    ).history
    last = {name: value[2:] for name, value in X.items()}
    expected = plain.evaluate(
        last, MASKS[2:], sample_weight=VIEW[2:], batch_size=2, verbose=0, return_dict=True
    )
    assert history["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-4)


def test_void_pixels_have_no_influence_on_what_is_learnt(build):
    noise = np.where(VIEW > 0, MASKS, 1 - MASKS).astype("uint8")
    trained = []
    start = None
    for masks in (MASKS, noise):
        model = build.plain_segmenter()
        start = start or model.get_weights()
        model.set_weights(start)
        model.compile(keras.optimizers.SGD(0.1))
        model.train_on_batch(X, masks, VIEW)
        trained.append(model.get_weights())
    # TensorFlow was seen 4e-9 apart in some runs, most likely by the order of its sums.
    tolerance = 1e-7 if keras.backend.backend() == "tensorflow" else 0
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance)
    assert any(np.abs(a - b).max() > 0 for a, b in zip(trained[0], start, strict=True))


def test_class_weight_is_a_map_of_the_masks(plain):
    masks = np.zeros_like(MASKS)
    masks[:, 10:30, 20:40] = 1
    prepared = plain.prepare_batch(X, masks, None, {0: 0.5, 1: 3})
    _, y, weights = prepared
    np.testing.assert_array_equal(weights["masks"], np.where(y["masks"] > 0, 3, np.float32(0.5)))
    # The same by name, and multiplied with the weight of each image.
    images = np.array([1, 2, 0, 1], "float32")
    _, _, both = plain.prepare_batch(X, masks, images, {"background": 0.5, "foreground": 3})
    np.testing.assert_allclose(both["masks"], weights["masks"] * images[:, None, None, None])
    _, _, both = plain.prepare_batch(X, masks, VIEW, {1: 3})
    _, _, view = plain.prepare_batch(X, masks, VIEW)
    np.testing.assert_allclose(both["masks"], view["masks"] * np.where(y["masks"] > 0, 3, 1))
    x, y, weights = prepared
    expected = keras.Model.evaluate(plain, x, y, sample_weight=weights, verbose=0, return_dict=True)
    plain.compile(keras.optimizers.SGD(0.0), run_eagerly=TENSORFLOW)
    found = plain.fit(X, masks, class_weight={0: 0.5, 1: 3}, verbose=0).history
    assert found["loss"][0] == pytest.approx(expected["loss"], rel=1e-4)
    source = (({k: v for k, v in X.items()}, masks) for _ in range(1))
    found = plain.fit(source, class_weight={0: 0.5, 1: 3}, verbose=0).history
    assert found["loss"][0] == pytest.approx(expected["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        (np.ones((4, 7)), r"shape \(4, 7\); expected one per image, .*or one per pixel"),
        (np.ones((4, 1, 40, 56)), "its channel axis comes first"),
        (np.ones((4, 64, 64, 1)), "for an image of 40 x 56"),
        (np.ones(3), "4 images and 3 sample_weight"),
        ([1, 1, -1, 1], "values from -1 to 1"),
        ({"mask": np.ones(4)}, "dict of mask"),
        (
            {"masks": np.ones(4), "patches": np.ones((4, 3, 3))},
            r"\(4, 3, 3\) for patches of shape \(4, 2, 2, 1\)",
        ),
    ],
)
def test_weights_that_do_not_fit_are_told(plain, weights, words):
    with pytest.raises(InputError, match="sample_weight") as error:
        plain.evaluate(X, MASKS, sample_weight=weights, verbose=0)
    assert re.search(words, str(error.value))


def test_patches_may_have_weights_of_their_own(plain):
    patches = np.zeros((4, 2, 2), "float32")
    found = plain.test_on_batch(X, MASKS, {"masks": VIEW, "patches": patches}, return_dict=True)
    assert found["patches_loss"] == 0
    assert (
        found["masks_loss"] == plain.test_on_batch(X, MASKS, VIEW, return_dict=True)["masks_loss"]
    )
    # One per image for either, too.
    one = {"masks": np.array([1, 2, 0, 1]), "patches": np.array([0, 0, 0, 4])}
    _, _, weights = plain.prepare_batch(X, MASKS, one)
    assert (weights["masks"] == np.array([1, 2, 0, 1])[:, None, None, None]).all()
    assert weights["patches"].reshape(4, -1).sum(1).tolist() == [0, 0, 0, 16]
    with pytest.raises(InputError, match="class_weight together"):
        plain.prepare_batch(X, MASKS, {"masks": VIEW, "patches": patches}, {1: 2})


def test_batch_losses_refuse_maps(build):
    model = build.plain_segmenter()
    model.compile("sgd", loss="published")
    with pytest.raises(InputError, match="received a sample_weight"):
        model.test_on_batch(X, MASKS, VIEW)
