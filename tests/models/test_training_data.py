"""Sources of batches: taken, or refused in a sentence before anything is trained."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.image_segmentation import sigmoid

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (4, 40, 56, 3), dtype="uint8")
MASKS = (RNG.random((4, 40, 56, 1)) > 0.7).astype("uint8")
MODALITIES = np.array([0, 1, 1, 0], "int32")
X = {"images": IMAGES, "modalities": MODALITIES}
# Pillow images of two sizes.
PILLOW_IMAGES = [
    Image.fromarray(one) for one in (IMAGES[0], IMAGES[1, :30], IMAGES[2], IMAGES[3, :30])
]
SHAPES = [MASKS[0], MASKS[1, :30], MASKS[2], MASKS[3, :30]]


class Listed(keras.utils.PyDataset):
    """Batches from a list."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


def sample(i):
    return {"images": IMAGES[i], "modalities": MODALITIES[i]}, MASKS[i]


def batch(rows):
    return {name: value[rows] for name, value in X.items()}, MASKS[rows]


HALVES = (slice(0, 2), slice(2, 4))


def loader(samples, **kwargs):
    import torch

    return torch.utils.data.DataLoader(samples, **kwargs)


def torch_dataset():
    import torch

    return torch.utils.data.TensorDataset(torch.zeros(2, 3))


def tf_data(*parts):
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(parts)


def grain_map(samples):
    import grain

    return grain.MapDataset.source(samples)


def ragged():
    import tensorflow as tf

    signature = tf.TensorSpec((None, None, 3), "uint8"), tf.TensorSpec((None, None, 1), "uint8")
    samples = [(np.asarray(p), m) for p, m in zip(PILLOW_IMAGES, SHAPES, strict=True)]
    return tf.data.Dataset.from_generator(lambda: samples, output_signature=signature).ragged_batch(
        2
    )


@pytest.fixture(scope="module")
def plain(build):
    model = build.plain_segmenter()
    model.compile("sgd")
    return model


def _samples():
    return [sample(i) for i in range(4)]


UNBATCHED = {
    "tf.data": lambda: tf_data(X, MASKS),
    "grain": lambda: grain_map(_samples()),
    "PyDataset": lambda: Listed(_samples()),
    "DataLoader": lambda: loader(_samples(), batch_size=None),
    "generator": lambda: iter(_samples()),
    "Pillow": lambda: Listed([({"images": PILLOW_IMAGES[0], "modalities": 0}, SHAPES[0])]),
}


@pytest.mark.parametrize("kind", UNBATCHED)
def test_single_samples_are_refused(plain, kind):
    before = [keras.ops.convert_to_numpy(w) for w in plain.weights]
    for method in (plain.fit, plain.evaluate):
        with pytest.raises(InputError, match=r"batch a source of single images first") as error:
            method(UNBATCHED[kind](), verbose=0)
        assert "\n" not in str(error.value)
    for old, new in zip(before, plain.weights, strict=True):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(new))
    if kind != "Pillow":
        with pytest.raises(InputError, match="batch a source"):
            plain.fit(X, MASKS, validation_data=UNBATCHED[kind](), verbose=0)


@pytest.mark.slow_on("tensorflow")
def test_generators_and_iterators(plain):
    expected = plain.evaluate(X, MASKS, batch_size=2, verbose=0, return_dict=True)
    for source in ((batch(rows) for rows in HALVES), map(batch, HALVES)):
        found = plain.evaluate(source, verbose=0, return_dict=True)
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)
    logits = plain.predict((batch(rows)[0] for rows in HALVES), verbose=0)
    np.testing.assert_allclose(logits["masks"], plain.predict(X, verbose=0)["masks"], atol=1e-4)
    history = plain.fit(
        (batch(rows) for rows in HALVES),
        validation_data=(batch(rows) for rows in HALVES),
        verbose=0,
    ).history
    expected = plain.evaluate(X, MASKS, batch_size=2, verbose=0, return_dict=True)
    assert history["val_loss"][0] == pytest.approx(expected["loss"], rel=1e-4)


def _columns(samples):
    images, masks, modalities = zip(*samples, strict=True)
    return {"images": list(images), "modalities": list(modalities)}, masks


def test_lists_of_several_sizes(plain):
    x = {"images": PILLOW_IMAGES, "modalities": MODALITIES}
    expected = plain.evaluate(x, SHAPES, batch_size=2, verbose=0, return_dict=True)
    samples = list(zip(PILLOW_IMAGES, SHAPES, MODALITIES, strict=True))
    sources = (
        loader(samples, batch_size=2, collate_fn=_columns),
        Listed([_columns(samples[rows]) for rows in HALVES]),
        (_columns(samples[rows]) for rows in HALVES),
    )
    for source in sources:
        found = plain.evaluate(source, verbose=0, return_dict=True)
        assert found["loss"] == pytest.approx(expected["loss"], rel=1e-4)


REFUSED = {
    "ragged": (ragged, "ragged batches"),
    "nothing": (lambda: iter([]), "yields nothing"),
    "no targets": (lambda: Listed([batch(rows)[:1] for rows in HALVES]), "without targets"),
    "four parts": (lambda: Listed([(X, MASKS, None, None)]), "tuple of 4"),
    "samples": (lambda: loader(_samples(), batch_size=4, collate_fn=list), "list of 4"),
    "two samples": (lambda: loader(_samples(), batch_size=2, collate_fn=list), "tuple of dicts"),
    "Pillow": (lambda: loader(PILLOW_IMAGES, batch_size=2), "collate_fn=lambda batch"),
    "sizes": (
        lambda: loader([np.asarray(one) for one in PILLOW_IMAGES], batch_size=2),
        "collate_fn=lambda batch",
    ),
    "channels in front": (
        lambda: tf_data({**X, "images": IMAGES.transpose(0, 3, 1, 2)}, MASKS).batch(2),
        "channels in front",
    ),
    "masks of another size": (lambda: tf_data(X, MASKS[:, :20]).batch(2), "expected one mask"),
    "an unknown key": (lambda: tf_data({**X, "name": MODALITIES}, MASKS).batch(2), "key 'name'"),
    "a data set of torch": (
        torch_dataset,
        "expected images, a tf.data.Dataset",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_source_of_batches_is_told(plain, kind):
    make, words = REFUSED[kind]
    for method in (plain.fit, plain.evaluate):
        with pytest.raises(InputError, match=words) as error:
            method(make(), verbose=0)
        assert "\n" not in str(error.value)


def test_an_error_in_a_later_batch_is_a_sentence_too(plain):
    good, bad = batch(HALVES[0]), (batch(HALVES[0])[0], MASKS[:2, :20])
    for source in (Listed([good] * 4 + [bad]), iter([good] * 4 + [bad])):
        with pytest.raises(InputError, match=r"^Received a mask of shape \(20, 56, 1\)"):
            plain.fit(source, shuffle=False, verbose=0)
    assert np.isfinite(plain.evaluate(X, MASKS, verbose=0)[0])


def test_targets_beside_a_source_and_other_arguments(plain):
    with pytest.raises(InputError, match="y or sample_weight together with a generator"):
        plain.fit((batch(rows) for rows in HALVES), MASKS, verbose=0)
    with pytest.raises(InputError, match="validation_data of 4 parts"):
        plain.fit(X, MASKS, validation_data=(X, MASKS, None, None), verbose=0)
    with pytest.raises(InputError, match="without targets"):
        plain.fit(X, MASKS, validation_data=(X,), verbose=0)
    with pytest.raises(InputError, match="batch_size=0"):
        plain.predict(X, batch_size=0)


class Lengths(keras.callbacks.Callback):
    """How many batches are trained and validated on."""

    def __init__(self):
        super().__init__()
        self.batches = self.validated = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1

    def on_test_batch_end(self, batch, logs=None):
        self.validated += 1


@pytest.mark.parametrize(
    "validate_on, validated", [({"validation_data": (X, MASKS)}, 4), ({"validation_split": 0.5}, 2)]
)
def test_validation_has_a_batch_size_of_its_own(plain, validate_on, validated):
    seen = Lengths()
    plain.fit(
        X, MASKS, batch_size=2, validation_batch_size=1, verbose=0, callbacks=[seen], **validate_on
    )
    assert (seen.batches, seen.validated) == (2 if validated == 4 else 1, validated)
    with pytest.raises(InputError, match="validation_batch_size=0"):
        plain.fit(X, MASKS, validation_batch_size=0, verbose=0, **validate_on)


def test_evaluate_without_data_is_a_sentence(plain):
    for call in (lambda: plain.evaluate(verbose=0), lambda: plain.evaluate(None, MASKS)):
        with pytest.raises(InputError, match="Received no data; give images"):
            call()


@pytest.mark.skipif(keras.backend.backend() == "torch", reason="PyTorch traces nothing")
def test_segment_and_predict_of_every_source_share_one_program(build, monkeypatch):
    task = build.plain_segmenter()
    traced, step = [], type(task).predict_step
    monkeypatch.setattr(
        type(task), "predict_step", lambda *args: traced.append(1) or step(*args), raising=False
    )
    images = RNG.integers(0, 256, (4, 64, 64, 3), dtype="uint8")
    x = {"images": images, "modalities": "lung"}
    found = [
        np.stack(task.segment(list(images), "lung", batch_size=4)["probabilities"]),
        *(sigmoid(task.predict(x, batch_size=size, verbose=0)["masks"]) for size in (4, 4)),
        sigmoid(task.predict_on_batch(x)["masks"]),
        sigmoid(task.predict(Listed([x]), verbose=0)["masks"]),
        sigmoid(task.predict((one for one in [x]), verbose=0)["masks"]),
    ]
    for one in found[1:]:
        np.testing.assert_allclose(one[..., 0], found[0], atol=1e-5)
    assert len(traced) == 1


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="tf.data is TensorFlow's")
def test_one_batch_is_predicted_without_a_pipeline(plain, monkeypatch):
    import tensorflow as tf

    expected = plain.predict(X, batch_size=2, verbose=0)["masks"]
    prepared, prepare = [], type(plain).prepare_batch
    monkeypatch.setattr(
        type(plain), "prepare_batch", lambda *args: prepared.append(1) or prepare(*args)
    )
    monkeypatch.setattr(tf.data.Dataset, "from_generator", lambda *_, **__: pytest.fail("traced"))
    heard = keras.callbacks.LambdaCallback()
    heard.on_predict_batch_end = lambda *_, **__: prepared.append("heard")
    found = plain.predict(X, batch_size=4, verbose=0, callbacks=[heard])["masks"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert prepared == [1, "heard"]
