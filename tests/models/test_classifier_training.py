"""Plain fit, evaluate and predict of the classifier on every kind of source."""

import multiprocessing
import subprocess
import sys
from pathlib import Path

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


@pytest.mark.slow_on("jax", "tensorflow")
def test_forked_workers_of_a_data_loader_read_while_the_process_computes():
    pytest.importorskip("torch")
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no forked processes on this system")
    program = Path(__file__).with_name("forked_workers.py")
    run = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=180)
    assert run.stdout.splitlines()[-1:] == ["done"], run.stderr[-4000:]


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


def test_class_weight_weighs_the_images_of_a_class(classifier):
    each = [
        classifier.test_on_batch(X[i : i + 1], Y[i : i + 1], return_dict=True)["loss"]
        for i in range(4)
    ]
    by_class = np.array([2, 1, 0.5])  # Of skin, lung (not given) and eye.
    # As in Keras: the mean of the weighted losses, not divided by the weights.
    expected = np.mean(by_class[Y] * each)
    for given in ({0: 2, 2: 0.5}, {"skin": 2, "eye": 0.5}, {"skin": 2.0, np.int64(2): 0.5}):
        for y in (Y, NAMED, Y[:, None], np.eye(3)[Y].astype("float32")):
            *_, weights = classifier.prepare_batch(X, y, None, given)
            np.testing.assert_array_equal(weights, by_class[Y].astype("float32"))
        *_, weights = classifier.prepare_batch(X, NAMED, [1, 0, 1, 2], given)
        np.testing.assert_array_equal(weights, by_class[Y] * [1, 0, 1, 2])
    start = classifier.get_weights()
    classifier.compile(keras.optimizers.SGD(0.0))
    for source in ("arrays", "tf.data", "DataLoader"):
        data = (X, NAMED) if source == "arrays" else (_labelled(source),)
        history = classifier.fit(*data, class_weight={"skin": 2, "eye": 0.5}, verbose=0).history
        assert history["loss"][0] == pytest.approx(expected, rel=1e-4)
    for old, new in zip(start, classifier.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    assert classifier.train_on_batch(X, NAMED, class_weight={0: 2, 2: 0.5}, return_dict=True)[
        "loss"
    ] == pytest.approx(expected, rel=1e-4)


def _labelled(kind):
    if kind == "tf.data":
        import tensorflow as tf

        return tf.data.Dataset.from_tensor_slices((X, NAMED)).batch(4)
    import torch

    return torch.utils.data.DataLoader(list(zip(X, NAMED, strict=True)), batch_size=4)


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"class_weight": {"ear": 1}}, "class 'ear'; expected 0 to 2 or skin, lung, eye"),
        ({"class_weight": {3: 1}}, "class 3"),
        ({"class_weight": {0: -1}}, "class_weight -1 for the class 0"),
        ({"class_weight": {0: float("nan")}}, "class_weight nan"),
        ({"class_weight": [1, 2, 3]}, "type list"),
        ({"sample_weight": np.ones((4, 40, 56))}, r"sample_weight of shape \(4, 40, 56\)"),
        ({"sample_weight": [1, 1, -1, 1]}, "sample_weight with values from -1 to 1"),
    ],
)
def test_weights_that_do_not_fit_are_explained(classifier, weights, words):
    with pytest.raises(InputError, match=words):
        classifier.fit(X, Y, verbose=0, **weights)
