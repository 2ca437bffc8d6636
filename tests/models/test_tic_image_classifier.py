"""The classifier: any size, any kind of image, its names and its confidence."""

from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.special

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.models import (
    TiCBackbone,
    TiCImageClassifier,
    TiCImageClassifierPreprocessor,
    TiCImageConverter,
)
from keras_espmedsam.models.esp_medsam.esp_medsam_backbone import MODALITIES

pytestmark = pytest.mark.usefixtures("untraced_tensorflow")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (50, 70), dtype="uint8")
RGB = np.repeat(GREY[..., None], 3, axis=-1)
COLOUR = RNG.integers(0, 256, (40, 30, 3), dtype="uint8")
NAMES = ("skin", "lung", "eye")


def make_backbone(**kwargs):
    config = dict(hidden_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), kernel_size=3, shift_size=3)
    return TiCBackbone(**{**config, **kwargs})


def make_classifier(image_size=(32, 32), backbone=None, **kwargs):
    return TiCImageClassifier(
        backbone or make_backbone(),
        preprocessor=TiCImageClassifierPreprocessor(TiCImageConverter(image_size)),
        **{"class_names": NAMES, **kwargs},
    )


@pytest.fixture(scope="module")
def classifier(build):
    return build.randomize(make_classifier(min_confidence=0.5))


@pytest.mark.slow_on("jax")
def test_the_same_weights_take_224_and_512_x_640(build):
    """The head is the mean over all places, and nothing in the model knows their number."""
    model = build.randomize(make_classifier(backbone=make_backbone(depths=(1, 0))))
    features = keras.Model(model.backbone.input, model.backbone.output)
    for height, width in ((224, 224), (512, 640)):
        images = RNG.normal(size=(1, height, width, 3)).astype("float32")
        places = build.run(features, images)
        assert places.shape == (1, height // 8, width // 8, 16)
        pooled = places.mean(axis=(1, 2))
        normed = (pooled - pooled.mean()) / np.sqrt(pooled.var() + 1e-6)
        norm, dense = model.output_norm, model.output_dense
        normed = normed * build.array(norm.gamma) + build.array(norm.beta)
        expected = normed @ build.array(dense.kernel) + build.array(dense.bias)
        np.testing.assert_allclose(build.run(model, images), expected, atol=1e-3)


def test_classify_gives_the_softmax_of_the_logits(classifier, build):
    found = classifier.classify(RGB)
    images = classifier.preprocessor.image_converter(RGB[None])
    expected = scipy.special.softmax(build.run(classifier, images)[0])
    np.testing.assert_allclose(found["probabilities"], expected, atol=1e-5)
    assert found["class_names"] == NAMES[expected.argmax()]
    assert found["confidences"] == pytest.approx(expected.max(), abs=1e-5)
    assert found["confidences"].dtype == found["probabilities"].dtype == np.float32
    assert found["confident"] is bool(expected.max() >= 0.5)


def test_kinds_of_one_image_agree(classifier):
    expected = classifier.classify(RGB)["probabilities"]
    alpha = np.full((50, 70, 1), 7, "uint8")
    kinds = [
        GREY,
        GREY[..., None],
        np.concatenate([RGB, alpha], axis=-1),
        GREY.astype("uint16") * 257,
        (GREY / 255).astype("float64"),
    ]
    for values in classifier.classify(kinds)["probabilities"]:
        np.testing.assert_allclose(values, expected, atol=1e-5)


def test_a_list_of_any_sizes_equals_one_by_one(build):
    # At their native sizes, so that the images go into batches of their own canvas.
    model = build.randomize(make_classifier(image_size=None))
    images = [RGB, COLOUR, RGB[::-1], np.full((1, 1), 200, "uint8"), GREY[:, ::-1]]
    together = model.classify(images, batch_size=2)
    for i, image in enumerate(images):
        alone = model.classify(image)
        np.testing.assert_allclose(together["probabilities"][i], alone["probabilities"], atol=1e-5)
        assert together["class_names"][i] == alone["class_names"]
    assert model.classify([]) == {
        "class_names": [],
        "confidences": [],
        "probabilities": [],
        "confident": [],
        "blank": [],
    }


def test_a_smaller_last_batch_is_filled_up(classifier, monkeypatch):
    sizes = []
    predict = keras.Model.predict_on_batch

    def counted(model, inputs):
        sizes.append(len(inputs))
        return predict(model, inputs)

    monkeypatch.setattr(keras.Model, "predict_on_batch", counted)
    classifier.classify([RGB, COLOUR, RGB], batch_size=2)
    assert sizes == [2, 2]


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="`run` compiles where Keras compiles"
)
def test_a_graph_gives_what_operations_one_by_one_give(classifier, build):
    images = np.random.default_rng(0).normal(size=(2, 64, 64, 3)).astype("float32")
    with build.untraced(False):
        found = keras.Model.predict_on_batch(classifier, images)
    np.testing.assert_allclose(found, build.run(classifier, images), rtol=1e-5, atol=1e-5)


def test_confident_from_min_confidence_on(build):
    model = build.randomize(make_classifier())
    sure = float(model.classify(RGB)["confidences"])
    for least, expected in ((sure, True), (sure + 1e-4, False), (0.0, True)):
        model.min_confidence = least
        assert model.classify(RGB)["confident"] is expected


def test_a_softmax_head_is_not_softmaxed_again(classifier):
    config = classifier.get_config()
    model = TiCImageClassifier.from_config({**config, "activation": "softmax"})
    model.set_weights(classifier.get_weights())
    np.testing.assert_allclose(
        model.classify(RGB)["probabilities"], classifier.classify(RGB)["probabilities"], atol=1e-5
    )
    assert not model.loss.get_config()["from_logits"]


def test_head_computes_in_float32(build):
    model = make_classifier(backbone=make_backbone(dtype="mixed_float16"))
    for layer in (model.pooler, model.output_norm, model.output_dense):
        assert layer.compute_dtype == "float32"
    probabilities = model.classify(RGB)["probabilities"]
    assert probabilities.sum() == pytest.approx(1, abs=1e-6)


def test_class_names_or_their_number(unbuilt_parts):
    model = make_classifier(class_names=None, num_classes=4)
    assert unbuilt_parts(model) == []
    assert model.classify(RGB)["class_names"] in ("0", "1", "2", "3")
    with pytest.raises(ValueError, match="neither num_classes nor class_names"):
        make_classifier(class_names=None)
    with pytest.raises(ValueError, match="num_classes=2 and 3 class_names"):
        make_classifier(num_classes=2)
    with pytest.raises(ValueError, match="names that differ"):
        make_classifier(class_names=("eye", "eye"))
    with pytest.raises(ValueError, match=r"min_confidence=1\.5"):
        make_classifier(min_confidence=1.5)
    with pytest.raises(ValueError, match="only images"):
        make_classifier(backbone=make_backbone(num_modalities=2))


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (RGB.astype("float32"), "expected values in"),
        (np.zeros((1, 2, 8, 8, 3), "uint8"), "one image per array"),
        (RGB.transpose(2, 0, 1)[None], "channels in front"),
        (np.zeros((0, 5), "uint8"), "no pixel"),
    ],
)
def test_bad_images_are_explained(classifier, image, words):
    with pytest.raises(InputError, match=words):
        classifier.classify(image)


def test_classify_says_what_it_lacks(classifier):
    with pytest.raises(InputError, match="batch_size=0"):
        classifier.classify(RGB, batch_size=0)
    bare = TiCImageClassifier(classifier.backbone, class_names=NAMES)
    with pytest.raises(InputError, match="no preprocessor"):
        bare.classify(RGB)


def test_converter_takes_every_size_and_stretches():
    converter = TiCImageConverter(image_size=(33, 20))
    assert converter.place((50, 70)).inner == (33, 20)
    assert converter(RGB[None]).shape == (1, 33, 20, 3)
    assert TiCImageConverter()(RGB).shape == (64, 96, 3)
    with pytest.raises(ValueError, match="from 1 to 65,536"):
        TiCImageConverter(image_size=(0, 20))
    same = TiCImageConverter.from_config(converter.get_config())
    assert (same.image_size, same.resize_mode) == ((33, 20), "stretch")


# === Presets ===


@pytest.fixture(scope="module")
def folder(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("preset")
    classifier.save_to_preset(folder)
    return folder


def test_a_saved_preset_classifies_alike(classifier, folder):
    again = TiCImageClassifier.from_preset(folder)
    assert (again.class_names, again.min_confidence) == (NAMES, 0.5)
    np.testing.assert_array_equal(
        again.classify(RGB)["probabilities"], classifier.classify(RGB)["probabilities"]
    )


def test_parts_load_from_the_same_preset(classifier, folder, build):
    backbone = TiCBackbone.from_preset(folder)
    for old, new in zip(classifier.backbone.weights, backbone.weights, strict=True):
        np.testing.assert_array_equal(build.array(old), build.array(new))
    converter = TiCImageConverter.from_preset(folder)
    assert converter.get_config() == classifier.preprocessor.image_converter.get_config()
    preprocessor = TiCImageClassifierPreprocessor.from_preset(folder)
    assert preprocessor.image_converter.image_size == (32, 32)


@pytest.mark.parametrize(
    ("arguments", "count", "names"),
    [
        ({"num_classes": 5}, 5, None),
        # As many as before, but what they mean is not said.
        ({"num_classes": 3}, 3, None),
        ({"class_names": ("cat", "dog")}, 2, ("cat", "dog")),
    ],
)
def test_new_classes_get_a_new_head(classifier, folder, build, arguments, count, names):
    model = TiCImageClassifier.from_preset(folder, **arguments)
    assert (model.num_classes, model.class_names) == (count, names)
    assert model.output_dense.kernel.shape == (16, count)
    assert not np.array_equal(
        build.array(model.output_dense.kernel)[:, :2],
        build.array(classifier.output_dense.kernel)[:, :2],
    )
    for old, new in zip(classifier.backbone.weights, model.backbone.weights, strict=True):
        np.testing.assert_array_equal(build.array(old), build.array(new))


def test_keras_file_keeps_the_compiled_model(classifier, tmp_path):
    model = TiCImageClassifier.from_config(classifier.get_config())
    model.set_weights(classifier.get_weights())
    model.compile(keras.optimizers.SGD(0.25))
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(
        again.classify(COLOUR)["probabilities"],
        classifier.classify(COLOUR)["probabilities"],
        atol=1e-6,
    )
    assert isinstance(again.optimizer, keras.optimizers.SGD)
    assert float(again.optimizer.learning_rate) == 0.25


def test_shared_training_is_the_segmenters():
    assert TiCImageClassifier.fit is kem.models.ESPMedSAMImageSegmenter.fit


@pytest.mark.slow_on("jax")
def test_tic_tiny_modality_is_small_and_refuses():
    entry = TiCImageClassifier.presets["tic_tiny_modality"]
    model = TiCImageClassifier.from_preset("tic_tiny_modality")
    assert model.count_params() == entry["metadata"]["params"] <= 1_900_000
    size = sum(file.stat().st_size for file in Path(entry["path"]).glob("*.weights.h5"))
    assert size <= 8_000_000
    assert model.class_names == MODALITIES
    # Bright discs on black are what it knows as nuclei; a rainbow is no medical image.
    rows, columns = np.mgrid[:256, :256]
    discs = (rows % 64 - 32) ** 2 + (columns % 64 - 32) ** 2 < 8**2
    nuclei = np.where(discs, 120, 10).astype("uint8")
    rainbow = np.stack([rows, columns, 255 - rows], axis=-1).astype("uint8")
    found = model.classify([nuclei, rainbow])
    assert found["class_names"][0] == "microscopy"
    assert found["confident"] == [True, False]
