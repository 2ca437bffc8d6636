"""Plain fit, evaluate and predict of the classifier on every kind of source."""

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.models import (
    TiCImageClassifier,
    TiCImageClassifierPreprocessor,
    TiCImageConverter,
)

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (4, 40, 56, 3), dtype="uint8")
Y = np.array([0, 2, 1, 2], "int32")
NAMES = ("skin", "lung", "eye")
NAMED = [NAMES[k] for k in Y]


# Labels by name, and once as numbers.
SOURCES = {
    "PyDataset": ("PyDataset", NAMED),
    "tf.data": ("tf.data", NAMED),
    "tf.data of numbers": ("tf.data", Y),
    "grain": ("grain", NAMED),
    "DataLoader": ("DataLoader", NAMED),
}


@pytest.fixture(scope="module")
def classifier():
    """One convolution as backbone: it compiles fast."""
    image = keras.Input((None, None, 3))
    backbone = keras.Model(image, keras.layers.Conv2D(8, 8, strides=8)(image))
    preprocessor = TiCImageClassifierPreprocessor(TiCImageConverter((32, 32)))
    model = TiCImageClassifier(backbone, class_names=NAMES, preprocessor=preprocessor)
    model.compile(keras.optimizers.SGD(0.1))
    return model


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_source_of_names_evaluates_as_arrays_of_numbers(classifier, source, build):
    kind, labels = SOURCES[source]
    expected = classifier.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    found = classifier.evaluate(build.source(kind, X, labels), verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    assert found["accuracy"] == expected["accuracy"]


@pytest.mark.parametrize("source", list(SOURCES))
def test_every_source_fits(classifier, source, build):
    kind, labels = SOURCES[source]
    kernel = classifier.output_dense.kernel
    old = keras.ops.convert_to_numpy(kernel)
    history = classifier.fit(build.source(kind, X, labels), validation_data=(X, Y), verbose=0)
    expected = classifier.evaluate(X, Y, verbose=0, return_dict=True)
    assert history.history["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-4)
    assert not np.array_equal(old, keras.ops.convert_to_numpy(kernel))


def test_loss_is_the_cross_entropy_of_the_logits(classifier):
    logits = classifier.predict(X, verbose=0)
    expected = np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(4), Y]
    found = classifier.evaluate(X, NAMED, verbose=0, return_dict=True)
    assert found["loss"] == pytest.approx(expected.mean(), rel=1e-4)
    assert found["accuracy"] == pytest.approx((logits.argmax(axis=-1) == Y).mean())


def test_training_learns_the_classes(classifier):
    images = np.zeros((12, 20, 20, 3), "uint8")
    images[np.arange(12), ..., np.arange(12) % 3] = 255  # Red, green and blue.
    labels = np.arange(12) % 3
    classifier.fit(images, labels, batch_size=6, epochs=20, verbose=0)
    found = classifier.classify(list(images[:3]))
    assert found["class_names"] == list(NAMES)
    assert min(found["confidences"]) > 0.8


def test_single_batches_and_a_dict_of_images(classifier):
    expected = classifier.evaluate(X, Y, batch_size=4, verbose=0, return_dict=True)
    found = classifier.test_on_batch({"images": X}, NAMED, return_dict=True)
    assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    np.testing.assert_allclose(
        classifier.predict_on_batch(X), classifier.predict(X, verbose=0), atol=1e-5
    )


def test_targets_of_their_own_pass_unchanged(classifier):
    targets = np.full((4, 3), 1 / 3, "float32")
    _, y = classifier.prepare_batch(X, targets)
    np.testing.assert_array_equal(y, targets)


@pytest.mark.parametrize(
    ("y", "words"),
    [
        ([0, 1, 3, 0], "label 3, .*from 0 to 2"),
        ([0, -1, 2, 0], "label -1"),
        (["eye", "ear", "eye", "eye"], r"label ear, .*\(skin, lung, eye\)"),
        ([0, 1], r"lengths \[2, 4\]"),
    ],
)
def test_bad_labels_are_explained(classifier, y, words):
    with pytest.raises(InputError, match=words):
        classifier.fit(X, y, verbose=0)
