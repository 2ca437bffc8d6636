"""What the plugin does with a layer's array; none of it needs napari."""

import types

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.napari.layer_masks import ALL, choices, segment_layer


class Segmenter:
    """The mask is what is brighter than the threshold; `cells` are told apart, by columns."""

    modalities = ("xray", "microscopy")

    def __init__(self):
        self.asked = []

    def segment(self, images, modality, threshold, batch_size, intensity=None, targets=None):
        names = {"xray": ("lungs",), "microscopy": ("cells", "rest")}[modality]
        names = names if targets is None else tuple(targets)
        self.asked.append((len(images), modality, intensity))
        low, high = intensity or (0, 255)
        bright = []
        for image in images:
            grey = image if image.ndim == 2 else image[..., 0]
            bright.append((grey - low) / (high - low) >= threshold)
        masks = [one if len(names) == 1 else np.stack([one, ~one], -1) for one in bright]
        numbers = [
            {"cells": one * np.arange(one.shape[1], dtype="int32")} if "cells" in names else {}
            for one in bright
        ]
        return {"masks": masks, "targets": [names] * len(images), "instances": numbers}


def recognizer(probabilities):
    def classify(images, intensity=None):
        count = len(images)
        blank = [bool(np.ptp(one) == 0) for one in images]
        return {"probabilities": [probabilities] * count, "blank": blank}

    names = ("xray", "microscopy")
    return types.SimpleNamespace(class_names=names, min_confidence=0.8, classify=classify)


@pytest.fixture
def segmenter():
    return Segmenter()


def test_a_stack_of_any_dimensions_gives_labels_of_its_shape(segmenter):
    data = np.arange(2 * 5 * 4 * 6).reshape(2, 5, 4, 6).astype("uint8")
    steps = []
    found = segment_layer(
        segmenter, data, modality="xray", threshold=0.4, progress=lambda *done: steps.append(done)
    )
    assert list(found.labels) == ["lungs"] and found.confidence is None
    labels = found.labels["lungs"]
    assert labels.dtype == "uint8" and np.array_equal(labels, data >= 0.4 * 255)
    assert steps == [(8, 10), (10, 10)]  # In batches, however large the stack is.


def test_colours_are_no_dimension_and_limits_are_of_grey_layers_alone(segmenter):
    colours = np.zeros((4, 6, 3), "uint8")
    colours[1, 2] = 200
    found = segment_layer(segmenter, colours, True, "xray", limits=(0, 9))
    assert np.argwhere(found.labels["lungs"]).tolist() == [[1, 2]]
    grey = np.array([[-1000.0, 40, 100], [300, 20, 0]])
    found = segment_layer(segmenter, grey, False, "xray", limits=[0, 80])
    assert found.labels["lungs"].tolist() == [[0, 1, 1], [1, 0, 0]]
    assert [one[2] for one in segmenter.asked] == [None, (0.0, 80.0)]


def test_objects_have_numbers_and_targets_are_chosen(segmenter):
    data = np.array([[0, 255, 255], [0, 0, 255]], "uint8")
    found = segment_layer(segmenter, [data, data[::2, ::2]], modality="microscopy")  # A pyramid.
    assert found.labels["cells"].dtype == "int32"
    assert found.labels["cells"].tolist() == [[0, 1, 2], [0, 0, 2]]
    assert found.labels["rest"].tolist() == [[1, 0, 0], [1, 1, 0]]
    found = segment_layer(segmenter, data, modality="microscopy", target="rest")
    assert list(found.labels) == ["rest"]


def test_a_stack_is_recognised_by_some_of_its_images(segmenter):
    data = np.zeros((40, 4, 6), "uint8")
    data[10:30] = np.arange(24).reshape(4, 6)
    found = segment_layer(segmenter, data, recognizer=recognizer([0.1, 0.9]))
    assert (found.modality, found.confidence) == ("microscopy", 0.9)
    with pytest.raises(InputError, match=r"The layer was not recognised: xray 0\.60"):
        segment_layer(segmenter, data, recognizer=recognizer([0.6, 0.4]))
    with pytest.raises(InputError, match="the same brightness everywhere"):
        segment_layer(segmenter, data[:5], recognizer=recognizer([0.1, 0.9]))


@pytest.mark.parametrize(("shape", "rgb"), [((7,), False), ((4, 3), True), ((0, 4, 4), False)])
def test_what_is_no_image_is_refused(segmenter, shape, rgb):
    with pytest.raises(InputError, match="expected images"):
        segment_layer(segmenter, np.zeros(shape), rgb, "xray")


def test_choices_are_those_of_the_preset():
    found = choices("espmedsam_nano_256")
    assert list(found)[:2] == ["auto", "dermoscopy"] and found["auto"] == (ALL,)
    assert found["fundus"][:3] == (ALL, "vessels", "optic_disc")
    assert choices("nowhere") == {"auto": (ALL,)}
