"""What a first step makes, and how often TensorFlow traces it."""

import keras
import numpy as np
import pytest

import keras_espmedsam as kem
from tests.models.conftest import make_plain_segmenter

# TensorFlow traced a step twice, which cost most; JAX compiles for each test here what others do.
pytestmark = pytest.mark.slow_on("jax")

X = {
    "images": np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype="uint8"),
    "modalities": np.array([0, 1, 1, 0], "int32"),
}
Y = (X["images"][..., :1] > 127).astype("uint8")


@pytest.fixture
def counted():
    """A compiled segmenter, and the list of the steps that Python ran."""
    segmenter = make_plain_segmenter()
    steps = []

    class Counted(type(segmenter)):
        def train_step(self, *args):
            steps.append("train")
            return super().train_step(*args)

        def test_step(self, *args):
            steps.append("test")
            return super().test_step(*args)

    segmenter.__class__ = Counted
    segmenter.compile(metrics={"masks": [keras.metrics.BinaryAccuracy(threshold=0.0)]})
    return segmenter, steps


def test_a_step_is_traced_once(counted):
    segmenter, steps = counted
    whole = segmenter.fit(
        X, Y, batch_size=2, verbose=0, shuffle=False, validation_data=(X, Y), epochs=2
    )
    if keras.backend.backend() == "tensorflow":
        assert steps == ["train", "test"]
    # What the metrics saw before the first step does not count.
    told = segmenter.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    for name, value in told.items():
        np.testing.assert_allclose(whole.history[f"val_{name}"][-1], value, atol=1e-6)
    assert {"loss", "masks_loss", "patches_loss", "masks_binary_accuracy"} <= set(told)
    logits = segmenter.predict(X, verbose=0)["masks"]
    size = logits.shape[1:3]
    of_masks = keras.ops.image.resize(Y.astype("float32"), size, interpolation="nearest")
    accuracy = np.mean((logits > 0) == (keras.ops.convert_to_numpy(of_masks) > 0.5))
    np.testing.assert_allclose(told["masks_binary_accuracy"], accuracy, atol=1e-6)


def test_compiled_anew_a_step_is_traced_once_more(counted):
    segmenter, steps = counted
    segmenter.evaluate(X, Y, batch_size=2, verbose=0)
    segmenter.compile(metrics={"masks": [keras.metrics.BinaryAccuracy(threshold=1.0)]})
    del steps[:]
    told = segmenter.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    if keras.backend.backend() == "tensorflow":
        assert steps == ["test"]
    assert 0 < told["masks_binary_accuracy"] < 1


def test_the_first_batch_counts_once(counted):
    segmenter, _ = counted
    first = segmenter.train_on_batch(X, Y, return_dict=True)
    counts = {
        variable.path.rsplit("/", 1)[-1]: float(keras.ops.convert_to_numpy(variable))
        for metric in segmenter.metrics
        for variable in metric.variables
        if variable.path.endswith("count")
    }
    assert np.isfinite(first["loss"]) and set(counts.values()) <= {4.0, 4.0 * 64 * 64}


def test_a_loss_of_other_targets_leaves_the_metrics_theirs(counted):
    """A metric told by a word is chosen by the shapes of the targets that it is given."""
    segmenter, steps = counted
    plain = type(segmenter)

    class OfTwoChannels(plain):
        def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
            y, y_pred = dict(y), dict(y_pred)
            for of in (y, y_pred):
                of["masks"] = keras.ops.concatenate([of["masks"]] * 2, axis=-1)
            return super().compute_loss(x, y, y_pred, sample_weight, training)

    # Of Keras, which takes any number of channels.
    loss = {
        name: keras.losses.BinaryCrossentropy(from_logits=True) for name in ("masks", "patches")
    }
    segmenter.compile(loss=loss, metrics={"masks": ["accuracy"]})
    expected = segmenter.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    segmenter.__class__ = OfTwoChannels
    segmenter.compile(loss=loss, metrics={"masks": ["accuracy"]})
    del steps[:]
    told = segmenter.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    assert 0 < told["masks_accuracy"] < 1
    np.testing.assert_allclose(told["masks_accuracy"], expected["masks_accuracy"], atol=1e-6)
    if keras.backend.backend() == "tensorflow":
        assert steps == ["test"]


def test_an_optimizer_that_keeps_no_modalities_apart_is_built_before_the_trace():
    steps = []

    class Counted(kem.models.TiCImageClassifier):
        def train_step(self, *args):
            steps.append("train")
            return super().train_step(*args)

    backbone = kem.models.TiCBackbone(
        hidden_dims=(8,), depths=(0,), num_heads=(1,), kernel_size=3, shift_size=3
    )
    converter = kem.models.TiCImageConverter((16, 16))
    preprocessor = kem.models.TiCImageClassifierPreprocessor(converter)
    classifier = Counted(backbone, class_names=("skin", "lung"), preprocessor=preprocessor)
    adam = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(), initial_scale=2.0)
    classifier.compile(adam, metrics=["accuracy"])
    images = X["images"][:, :16, :16]
    history = classifier.fit(images, np.array([0, 1, 1, 0]), batch_size=2, verbose=0).history
    assert np.isfinite(history["loss"][0])
    if keras.backend.backend() == "tensorflow":
        assert steps == ["train"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="variables of TensorFlow")
def test_what_a_metric_does_to_a_variable_of_its_own_is_done_once(counted):
    import tensorflow as tf

    class Batches(keras.metrics.Metric):
        def __init__(self):
            super().__init__(name="batches")
            self.count = tf.Variable(0.0)

        def update_state(self, y_true, y_pred, sample_weight=None):
            self.count.assign_add(1.0)

        def result(self):
            return self.count.read_value()

        def reset_state(self):
            self.count.assign(0.0)

    segmenter, steps = counted
    segmenter.compile(metrics={"masks": [Batches()]})
    told = segmenter.evaluate(X, Y, batch_size=2, verbose=0, return_dict=True)
    assert told["masks_batches"] == 2.0
    assert steps == ["test"]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="traces of TensorFlow")
def test_what_is_made_in_a_trace_belongs_to_none():
    import tensorflow as tf

    from keras_espmedsam.optimizers.replicas import untraced

    made, runs = [], []

    @tf.function
    def step():
        runs.append(1)
        if not made:
            with untraced():
                made.append(keras.Variable([1.0, 2.0], name="made"))
        made[0].assign_add([1.0, 1.0])
        return made[0].value + 0.0

    assert step().numpy().tolist() == [2.0, 3.0]
    assert step().numpy().tolist() == [3.0, 4.0]
    assert len(runs) == 1
    assert type(made[0].value) is type(tf.Variable(0.0))
