"""`segment` with "auto": what is recognised, what is refused, and what is loaded for it."""

import types

import numpy as np
import pytest

import keras_espmedsam as kem
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import load_models

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (50, 70, 3), dtype="uint8")


class PixelClassifier:
    """The first pixel names the class, the second is the confidence in per cent."""

    class_names = ("eye", "brain", "lung")
    min_confidence = 0.8

    def __init__(self):
        self.calls = []

    def classify(self, images, batch_size=32):
        self.calls.append((len(images), batch_size))
        rows = []
        for image in images:
            row = np.full(3, (1 - image[0, 1, 0] / 100) / 2, "float32")
            row[image[0, 0, 0]] = image[0, 1, 0] / 100
            rows.append(row)
        return {"probabilities": rows}


EYE, BRAIN, LUNG = 0, 1, 2


def image(name, confidence=90, size=(50, 70)):
    image = RGB[: size[0], : size[1]].copy()
    image[0, :2, 0] = name, confidence
    return image


@pytest.fixture(scope="module")
def segmenter(build):
    """One that compiles fast, but whose masks differ between the modalities."""
    return build.randomize(build.plain_segmenter())


@pytest.fixture
def classifier():
    return PixelClassifier()


@pytest.fixture(autouse=True)
def presets(monkeypatch):
    """Lists which presets were loaded; each is a `PixelClassifier` of its own."""
    loaded = []

    def from_preset(name):
        loaded.append(name)
        return PixelClassifier()

    fake = types.SimpleNamespace(from_preset=from_preset)
    monkeypatch.setattr(load_models, "upward", lambda name: fake)
    monkeypatch.setattr(load_models, "resolve_preset", lambda name: name)
    monkeypatch.setattr(load_models, "_KEPT", {})
    monkeypatch.setattr(load_models, "builtin_presets", lambda: {"tic_tiny_modality": 0})
    return loaded


def test_one_image(segmenter, classifier):
    eye = image(EYE)
    found = segmenter.segment(eye, "auto", recognizer=classifier)
    given = segmenter.segment(eye, "eye")
    np.testing.assert_allclose(found["probabilities"], given["probabilities"], atol=1e-5)
    np.testing.assert_array_equal(found["masks"], found["probabilities"] >= 0.5)
    assert found["modalities"] == given["modalities"] == "eye"
    assert found["confidences"] == pytest.approx(0.9)
    assert given["confidences"] is None
    # The modality matters, so that the right one was used.
    other = segmenter.segment(eye, "lung")["probabilities"]
    assert np.abs(other - found["probabilities"]).max() > 1e-3


def test_a_list(segmenter, classifier):
    images = [image(EYE, 80), image(LUNG, 95, (20, 64)), image(EYE, 99)]
    found = segmenter.segment(images, "auto", batch_size=1, recognizer=classifier)
    assert found["modalities"] == ["eye", "lung", "eye"]
    np.testing.assert_allclose(found["confidences"], [0.8, 0.95, 0.99], rtol=1e-6)
    assert classifier.calls == [(3, 1)]
    given = segmenter.segment(images, ["eye", "lung", "eye"], batch_size=1)
    for one, other in zip(found["probabilities"], given["probabilities"], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_entries_of_a_list(segmenter, classifier):
    images = [image(EYE), image(LUNG), image(EYE, 10)]
    modalities = [0, "auto", "lung"]
    found = segmenter.segment(images, modalities, batch_size=1, recognizer=classifier)
    assert found["modalities"] == ["skin", "lung", "lung"]
    assert found["confidences"] == [None, pytest.approx(0.9), None]
    assert classifier.calls == [(1, 1)]


def test_one_refused_image(segmenter, classifier, monkeypatch):
    monkeypatch.setattr(
        type(segmenter), "predict_probabilities", lambda *_: pytest.fail("segmented")
    )
    with pytest.raises(InputError) as caught:
        segmenter.segment(image(EYE, 60), "auto", recognizer=classifier)
    assert str(caught.value) == (
        "The image was not recognised: eye 0.60, brain 0.20, lung 0.20 (at least 0.8 is needed). "
        "Give the modality (skin, lung, eye), or leave out images of other kinds."
    )
    images = [image(EYE), image(LUNG, 79), image(BRAIN)]
    with pytest.raises(InputError) as caught:
        segmenter.segment(images, "auto", recognizer=classifier)
    assert str(caught.value).startswith(
        "images[1] was not recognised: lung 0.79, eye 0.10, brain 0.10 (at least 0.8 is needed); "
        "images[2] was recognised as brain (0.900), which this segmenter does not know (it knows "
        "skin, lung, eye). Give"
    )


def test_many_refused_images_are_counted(segmenter, classifier):
    images = [image(EYE, 60)] * 5
    with pytest.raises(InputError, match=r"images\[2\] was not [^;]*; and 2 more\. Give"):
        segmenter.segment(images, "auto", recognizer=classifier)


def test_a_segmenter_of_one_modality_segments_no_other(segmenter, classifier):
    lung = segmenter.specialize("lung")
    found = lung.segment(image(LUNG), "auto", recognizer=classifier)
    assert (found["modalities"], found["confidences"]) == ("lung", pytest.approx(0.9))
    with pytest.raises(InputError, match=r"recognised as eye .* does not know \(it knows lung\)"):
        lung.segment(image(EYE), "auto", recognizer=classifier)
    given = lung.segment(image(EYE))
    assert (given["modalities"], given["confidences"]) == ("lung", None)


def test_a_recognizer_of_other_things(segmenter, classifier):
    classifier.class_names = ("cat", "dog", "cow")
    with pytest.raises(InputError, match="tells cat, dog, cow apart, and the segmenter knows skin"):
        segmenter.segment(image(EYE), "auto", recognizer=classifier)


@pytest.mark.parametrize(
    ("modalities", "words"),
    [
        (None, "skin, lung, eye per image, or 'auto'"),
        (["auto"], "1 modalities for 2 images"),
        (["auto", "brain"], "Unknown modality 'brain'"),
        (["auto", "auto", "auto"], "3 modalities for 2 images"),
        ("automatic", "Unknown modality 'automatic'"),
    ],
)
def test_bad_modalities_are_told_before_anything_is_loaded(segmenter, presets, modalities, words):
    with pytest.raises(InputError, match=words):
        segmenter.segment([image(EYE), image(EYE)], modalities)
    assert presets == []


# === What is loaded ===


def test_nothing_is_loaded_for_given_modalities(segmenter, presets):
    assert segmenter.segment([image(EYE)], "eye")["modalities"] == ["eye"]
    found = segmenter.segment([], "auto")
    assert found["modalities"] == found["confidences"] == []
    assert not any(found.values())
    assert presets == []


def test_the_built_in_one_is_loaded_once_and_is_no_part_of_a_segmenter(segmenter, presets):
    weights, layers = len(segmenter.weights), len(segmenter.layers)
    first = load_models.load_recognizer()
    segmenter.segment(image(EYE), "auto")
    segmenter.segment(image(EYE), "auto", recognizer="tic_tiny_modality")
    assert presets == ["tic_tiny_modality"]
    assert len(first.calls) == 2
    assert (len(segmenter.weights), len(segmenter.layers)) == (weights, layers)
    assert not any(value is first for value in vars(segmenter).values())


def test_a_folder_is_loaded_each_time(segmenter, presets, tmp_path):
    for recognizer in (tmp_path, str(tmp_path)):
        segmenter.segment(image(EYE), "auto", recognizer=recognizer)
    assert presets == [str(tmp_path)] * 2


def test_what_is_no_recognizer_is_explained(segmenter):
    with pytest.raises(InputError, match="recognizer of type int; expected a TiCImageClassifier"):
        segmenter.segment(image(EYE), "auto", recognizer=3)


def test_an_image_of_one_brightness_is_refused(segmenter):
    class Sure(PixelClassifier):
        def classify(self, images, batch_size=32):
            found = super().classify(images, batch_size)
            return {**found, "blank": [np.ptp(image) == 0 for image in images]}

    blank = np.full((50, 70, 3), 1, "uint8")
    with pytest.raises(InputError, match=r"images\[1\] has nearly the same brightness"):
        segmenter.segment([image(EYE), blank], "auto", recognizer=Sure())


@pytest.mark.slow_on("jax")
def test_the_built_in_recognizer_is_not_sure_of_nothing(build):
    recognizer = kem.models.TiCImageClassifier.from_preset("tic_tiny_modality")
    black, white = (np.full((30, 30), value, "uint8") for value in (0, 255))
    shown = np.tile(np.arange(0, 240, 8, dtype="uint8"), (30, 1))
    with build.untraced():
        found = recognizer.classify([black, shown, white])
    assert found["blank"] == [True, False, True]
    assert not found["confident"][0] and not found["confident"][2]
