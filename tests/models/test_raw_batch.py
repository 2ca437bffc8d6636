"""The forms that images, targets and modalities may have, in every way in."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.raw_batch import array_rows, image_rows
from keras_espmedsam.models import (
    TiCImageClassifier,
    TiCImageClassifierPreprocessor,
    TiCImageConverter,
)

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, 40, 56, 3), dtype="uint8")
MASKS = (RNG.random((2, 40, 56, 1)) > 0.7).astype("uint8")
MODALITIES = np.array([2, 0], "int32")
# Of two sizes, on canvases of their own.
SIZES = [IMAGES[0], IMAGES[1, :30]]
SIZED_MASKS = [MASKS[0], MASKS[1, :30]]


def _objects(values):
    objects = np.empty(len(values), object)
    objects[:] = values
    return objects


def _torch(values, **kwargs):
    import torch

    return torch.tensor(values, **kwargs)


def _tensorflow(values):
    import tensorflow as tf

    return tf.constant(values)


def _jax(values, dtype=None):
    import jax.numpy as jnp

    return jnp.asarray(values, dtype=dtype)


IMAGE_FORMS = {
    "list": list,
    "tuple": tuple,
    "Pillow": lambda a: [Image.fromarray(one) for one in a],
    "palettes": lambda a: [Image.fromarray(one).quantize(256) for one in a],
    "mixed": lambda a: [Image.fromarray(a[0]), _torch(a[1])],
    "torch": _torch,
    "TensorFlow": _tensorflow,
    "JAX": _jax,
    "backend": lambda a: keras.ops.convert_to_tensor(a),
    "floats": lambda a: a / 255,
    "with a gradient": lambda a: _torch(a / 255, requires_grad=True),
    "RGBA": lambda a: np.concatenate([a, a[..., :1]], axis=-1),
}
MASK_FORMS = {
    "(n, h, w)": lambda m: m[..., 0],
    "list of (h, w)": lambda m: list(m[..., 0]),
    "tuple": tuple,
    "bool": lambda m: m.astype(bool),
    "0 and 255": lambda m: m * np.uint8(255),
    "float64": lambda m: m.astype("float64"),
    "int64": lambda m: m.astype("int64"),
    "Pillow": lambda m: [Image.fromarray(one[..., 0] * np.uint8(255)) for one in m],
    "1-bit Pillow": lambda m: [Image.fromarray(one[..., 0] > 0) for one in m],
    "torch": _torch,
    "TensorFlow": _tensorflow,
    "dict": lambda m: {"masks": list(m)},
    "nested lists": lambda m: m.tolist(),
}
MODALITY_FORMS = {
    "list": list,
    "list of names": lambda _: ["eye", "skin"],
    "tuple of both": lambda _: ("eye", 0),
    "NumPy names": lambda _: np.array(["eye", "skin"]),
    "NumPy bytes": lambda _: np.array([b"eye", b"skin"]),
    "(n, 1)": lambda m: m[:, None],
    "torch": _torch,
    "list of tensors": lambda m: [_torch(one) for one in m],
    "TensorFlow names": lambda _: _tensorflow(["eye", "skin"]),
}


@pytest.fixture(scope="module")
def plain(build):
    model = build.plain_segmenter()
    model.compile("sgd")
    return model


@pytest.fixture(scope="module")
def expected(plain):
    """What the plainest form gives."""
    x, y = plain.prepare_batch({"images": IMAGES, "modalities": MODALITIES}, MASKS)
    return x, y


def _assert_prepared(found, expected, atol=0):
    (x, y), (expected_x, expected_y) = found, expected
    np.testing.assert_allclose(x["images"], expected_x["images"], atol=atol)
    np.testing.assert_array_equal(x["modalities"], expected_x["modalities"])
    for name in ("masks", "patches"):
        np.testing.assert_array_equal(y[name], expected_y[name])


@pytest.mark.parametrize("form", IMAGE_FORMS)
def test_images(plain, expected, form):
    x = {"images": IMAGE_FORMS[form](IMAGES), "modalities": MODALITIES}
    if form == "palettes":
        colours = [np.asarray(one.convert("RGB")) for one in x["images"]]
        expected = plain.prepare_batch({"images": colours, "modalities": MODALITIES}, MASKS)
    _assert_prepared(plain.prepare_batch(x, MASKS), expected, atol=1e-5)


@pytest.mark.parametrize("form", MASK_FORMS)
def test_masks(plain, expected, form):
    x = {"images": IMAGES, "modalities": MODALITIES}
    _assert_prepared(plain.prepare_batch(x, MASK_FORMS[form](MASKS)), expected)


@pytest.mark.parametrize("form", MODALITY_FORMS)
def test_modalities(plain, expected, form):
    x = {"images": IMAGES, "modalities": MODALITY_FORMS[form](MODALITIES)}
    _assert_prepared(plain.prepare_batch(x, MASKS), expected)
    np.testing.assert_array_equal(plain.modality_indices(x["modalities"], 2), MODALITIES)


@pytest.mark.parametrize("one", ["eye", 2, b"eye", np.str_("eye"), np.int64(2), np.array("eye")])
def test_one_modality_for_all(plain, expected, one):
    x, _ = plain.prepare_batch({"images": IMAGES, "modalities": one}, MASKS)
    assert x["modalities"].tolist() == [2, 2]
    data = array_rows({"images": IMAGES, "modalities": one}, None, None, plain.raw_inputs)[0]
    assert list(plain.modality_indices(data["modalities"], 2)) == [2, 2]


def test_bfloat16_tensors():
    torch = pytest.importorskip("torch")
    converter = TiCImageConverter((32, 32))
    values = _torch(IMAGES / 255, dtype=torch.bfloat16)
    want = converter.convert_batch(values.float().numpy())
    np.testing.assert_array_equal(converter.convert_batch(values), want)


def test_an_image_of_16_bits_is_read_by_itself():
    # Black and white of one image do not depend on which others share its batch.
    dark = (IMAGES[0].astype("uint16") * 4, IMAGES[1].astype("uint16") * 2)
    converter = TiCImageConverter((32, 32))
    with pytest.warns(UserWarning, match="bits are used"):
        together = converter.convert_batch(np.stack(dark))
        alone = [converter.convert_batch(one) for one in dark]
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("form", [list, tuple, _objects])
def test_sizes_are_placed_one_by_one(plain, form):
    x = {"images": form(SIZES), "modalities": [2, 0]}
    found = plain.prepare_batch(x, form(SIZED_MASKS))
    for i in range(2):
        one = {"images": SIZES[i][None], "modalities": MODALITIES[i : i + 1]}
        x, y = plain.prepare_batch(one, SIZED_MASKS[i][None])
        np.testing.assert_array_equal(found[0]["images"][i], x["images"][0])
        for name, values in y.items():
            np.testing.assert_array_equal(found[1][name][i], values[0])


@pytest.mark.usefixtures("untraced_tensorflow")
def test_sizes_in_fit_evaluate_and_predict(plain):
    x = {"images": SIZES, "modalities": ["eye", "skin"]}
    logits = plain.predict(x, batch_size=2, verbose=0)
    again = plain.predict_on_batch(x)
    for i in range(2):
        alone = plain.predict({"images": SIZES[i], "modalities": MODALITIES[i]}, verbose=0)
        np.testing.assert_allclose(logits["masks"][i], alone["masks"][0], atol=1e-4)
        np.testing.assert_allclose(again["masks"][i], alone["masks"][0], atol=1e-4)
    losses = [
        plain.test_on_batch(
            {"images": SIZES[i], "modalities": MODALITIES[i]}, SIZED_MASKS[i], return_dict=True
        )["loss"]
        for i in range(2)
    ]
    found = plain.evaluate(x, SIZED_MASKS, batch_size=1, verbose=0, return_dict=True)["loss"]
    assert found == pytest.approx(np.mean(losses), rel=1e-4)
    history = plain.fit(
        x, SIZED_MASKS, batch_size=2, verbose=0, validation_data=(x, SIZED_MASKS)
    ).history
    after = plain.evaluate(x, SIZED_MASKS, batch_size=2, verbose=0, return_dict=True)["loss"]
    assert history["val_loss"][0] == pytest.approx(after, rel=1e-4)
    halves = plain.fit(x, SIZED_MASKS, batch_size=2, verbose=0, validation_split=0.5).history
    assert np.isfinite(halves["val_loss"][0])


def test_segment_takes_the_same(plain):
    want = plain.segment(list(IMAGES), ["eye", "skin"])
    for form in ("torch", "TensorFlow", "Pillow", "floats"):
        images = IMAGE_FORMS[form](IMAGES)
        found = plain.segment(images, MODALITY_FORMS["NumPy bytes"](None))
        assert found["modalities"] == want["modalities"] == ["eye", "skin"]
        for i in range(2):
            np.testing.assert_allclose(
                found["probabilities"][i], want["probabilities"][i], atol=1e-5
            )
    found = plain.segment(_objects(SIZES), "eye")
    for i, image in enumerate(SIZES):
        alone = plain.segment(Image.fromarray(image), _tensorflow("eye"))["probabilities"]
        np.testing.assert_allclose(found["probabilities"][i], alone, atol=1e-5)
    one = plain.segment(IMAGES[:1], "eye")
    assert len(one["masks"]) == 1 and one["masks"][0].shape == (40, 56)


def test_the_classifier_takes_the_same():
    image = keras.Input((None, None, 3))
    backbone = keras.Model(image, keras.layers.Conv2D(8, 8, strides=8)(image))
    model = TiCImageClassifier(
        backbone,
        class_names=("skin", "lung", "eye"),
        preprocessor=TiCImageClassifierPreprocessor(TiCImageConverter((32, 32))),
    )
    model.compile("sgd")
    want = model.classify(list(IMAGES))["probabilities"]
    for form in ("torch", "TensorFlow", "Pillow", "floats"):
        found = model.classify(IMAGE_FORMS[form](IMAGES))["probabilities"]
        np.testing.assert_allclose(found, want, atol=1e-5)
    loss = model.evaluate(IMAGES, [2, 0], verbose=0, return_dict=True)["loss"]
    for labels in (
        ["eye", "skin"],
        np.array(["eye", "skin"]),
        _torch([2, 0]),
        _tensorflow([2, 0]),
        [_torch(2), _torch(0)],
        ("eye", np.str_("skin")),
        _tensorflow(["eye", "skin"]),
    ):
        found = model.evaluate(list(IMAGES), labels, verbose=0, return_dict=True)["loss"]
        assert found == pytest.approx(loss, rel=1e-4)
    alone = [
        model.test_on_batch(IMAGES[i], one, return_dict=True)["loss"]
        for i, one in enumerate(("eye", 0))
    ]
    assert np.mean(alone) == pytest.approx(loss, rel=1e-4)
    logits = model.predict(_objects(SIZES), verbose=0)
    np.testing.assert_allclose(logits[1], model.predict(SIZES[1], verbose=0)[0], atol=1e-4)


def test_native_sizes_need_batches_of_one_size(build):
    model = build.segmenter(image_size=None)
    x = {"images": SIZES, "modalities": "eye"}
    with pytest.raises(InputError, match=r"several sizes \(32 x 64, 64 x 64\).*batch_size=1"):
        model.prepare_batch(x, SIZED_MASKS)
    found = model.prepare_batch({"images": SIZES[1:], "modalities": "eye"}, SIZED_MASKS[1:])
    assert found[1]["masks"].shape == (1, 32, 64, 1)
    np.testing.assert_array_equal(found[1]["masks"][0, :30, :56], SIZED_MASKS[1])


FRONT = IMAGES.transpose(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("images", "masks", "words"),
    [
        (FRONT, MASKS, "channels in front"),
        (list(FRONT), MASKS, "channels in front"),
        (FRONT[0], MASKS[:1], "channels that are in front"),
        (IMAGES, MASKS.transpose(0, 3, 1, 2), "its channel axis comes first"),
        (IMAGES[..., 0], MASKS, r"images\[..., None\]"),
        (IMAGES, MASKS[:1], "2 images and 1 y"),
        (IMAGES, MASKS[:, :20], "expected one mask"),
        (IMAGES, np.repeat(MASKS, 3, -1), "expected one mask"),
        (IMAGES, None, "without targets"),
        (IMAGES, {"mask": MASKS}, "dict of mask"),
        ([], [], "no images"),
        (IMAGES[:0], MASKS[:0], "no images"),
        ([[[1, 2], [3]], [[1], [2, 3]]], MASKS, "not an array of numbers"),
        (SIZES, [[[0, 1], [1]], [[0], [1, 1]]], "not an array of numbers"),
        (IMAGES.astype(object), MASKS, "object array"),
        (IMAGES.astype("int64"), MASKS, "dtype int64"),
        (IMAGES.astype("float32"), MASKS, "values from 0 to 255"),
        (["a.png", "b.png"], MASKS, "read the file first"),
        ([IMAGES[0], None], MASKS, "not an array of numbers"),
        ([{"images": IMAGES[0]}], MASKS[:1], "list of dicts"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(plain, images, masks, words):
    x = images if "list of dicts" in words else {"images": images, "modalities": 0}
    for method in (plain.evaluate, plain.test_on_batch):
        with pytest.raises(InputError, match=words) as error:
            method(x, masks)
        assert len(str(error.value)) < 450 and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ({"modalities": 0}, "without images"),
        ({"images": IMAGES, "modality": 0}, "unknown key 'modality'.*did you mean modalities"),
        ({"images": IMAGES, "modalities": 0, "masks": MASKS}, "unknown key 'masks'"),
        ({"images": IMAGES, "modalities": [0.5, 1]}, r"Unknown modality 0\.5"),
        ({"images": IMAGES, "modalities": [0, 0, 0]}, "2 images and 3 modalities"),
        ("a.png", "read the file first"),
    ],
)
def test_what_is_in_x_is_checked(plain, x, words):
    with pytest.raises(InputError, match=words):
        plain.evaluate(x, MASKS, verbose=0)


def test_segment_says_which_image_is_meant(plain):
    with pytest.raises(InputError, match=r"images\[1\]: .*channels in front"):
        plain.segment([IMAGES[0], FRONT[0]], "eye")
    with pytest.raises(InputError, match="dict of images"):
        plain.segment({"images": IMAGES}, "eye")


def test_rows():
    for images, count, several in (
        (IMAGES, 2, True),
        (IMAGES[0], 1, False),
        (IMAGES[0, ..., 0], 1, False),
        (Image.fromarray(IMAGES[0]), 1, False),
        (_objects(SIZES), 2, True),
        ([], 0, True),
    ):
        rows, found = image_rows(images)
        assert (len(rows), found) == (count, several)
