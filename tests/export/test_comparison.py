"""An artefact is run with one image and with two, of one size or of two, and each must agree."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.export import comparison
from keras_espmedsam.export.request import make_request


class Recorded:
    """A runtime that gives what the Keras model gives, image by image; `wrong` is added to it."""

    def __init__(self, task, request, wrong=0.0):
        self.task, self.request, self.wrong = task, request, wrong
        self.shapes = []

    def __call__(self, inputs):
        self.shapes.append(inputs["images"].shape[:3])
        found = []
        for i in range(len(inputs["images"])):
            given, prepared = comparison.model_inputs(
                self.task, self.request, inputs["images"][i : i + 1]
            )
            np.testing.assert_array_equal(given["images"], inputs["images"][i : i + 1])
            prepared["modalities"] = inputs["modalities"][i : i + 1]
            outputs = comparison._predicted(self.task, prepared)
            found.append(comparison.expected_outputs(self.task, self.request, outputs))
        found = comparison._stacked(found)
        found["probabilities"][-1] += self.wrong * (len(found["probabilities"]) == 2)
        return found


@pytest.mark.parametrize(
    ("size", "batch_size", "shapes"),
    [
        (None, None, [(1, 64, 64), (2, 64, 64)]),
        (None, 2, [(2, 64, 64)]),
        (None, 1, [(1, 64, 64)]),
        ("any", None, [(1, 256, 256), (2, 96, 160)]),
        ("any", 2, [(2, 256, 256), (2, 96, 160)]),
    ],
)
def test_what_an_artefact_is_run_with(segmenter, tmp_path, size, batch_size, shapes):
    request = make_request(segmenter, "onnx", tmp_path / "m.onnx", size, batch_size)
    runtime = Recorded(segmenter, request)
    assert comparison.compare(segmenter, request, runtime) < 1e-6
    assert runtime.shapes == shapes


def test_one_wrong_image_of_two_is_found(segmenter, tmp_path):
    request = make_request(segmenter, "onnx", tmp_path / "m.onnx")
    with pytest.raises(InputError, match=r"differs from the Keras model by \d[\d.e-]*, more"):
        comparison.compare(segmenter, request, Recorded(segmenter, request, 1e-3))


def test_the_prediction_is_that_of_predict(segmenter):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(1, 64, 64, 3)).astype("float32")
    inputs = {"images": images, "modalities": np.array([1], "int32")}
    found = comparison._predicted(segmenter, inputs)
    for name, expected in segmenter.predict_prepared(inputs).items():
        np.testing.assert_allclose(found[name], expected, atol=1e-5)


def test_a_made_image_is_soft_and_of_its_size():
    image = comparison.made_image(np.random.default_rng(3), (64, 96))
    assert (image.shape, image.dtype) == ((64, 96, 3), np.uint8)
    steps = np.abs(np.diff(image.astype("int32"), axis=1)).mean()
    assert image.std() > 10 and steps < image.std() / 2
    np.testing.assert_array_equal(image, comparison.made_image(np.random.default_rng(3), (64, 96)))
