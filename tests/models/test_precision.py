"""What a preset computes in, and the numbers of both."""

import numpy as np
import pytest

from keras_espmedsam.inference.load_models import load_segmenter
from keras_espmedsam.inference.precision import computed_in

NANO = "espmedsam_nano_256"


def _image():
    y, x = np.mgrid[0:96, 0:128]
    disc = (y - 48) ** 2 + (x - 64) ** 2 < 30**2
    return np.repeat((60 + 150 * disc).astype("uint8")[..., None], 3, axis=2)


@pytest.mark.slow_on("jax", "tensorflow")
def test_a_preset_computes_in_what_was_asked_for_and_stores_float32(build):
    found, image = {}, _image()
    for precision in (None, "float32", "bfloat16"):
        segmenter = load_segmenter(NANO, precision)
        assert computed_in(segmenter) == (precision or "float32")
        assert {str(one.dtype) for one in segmenter.weights if "float" in one.dtype} == {"float32"}
        with build.untraced():
            found[precision] = segmenter.segment(image, "dermoscopy")
        assert found[precision]["probabilities"].dtype == np.float32
    np.testing.assert_array_equal(found[None]["probabilities"], found["float32"]["probabilities"])
    different = np.abs(found["bfloat16"]["probabilities"] - found["float32"]["probabilities"])
    assert 0 < different.mean() < 0.02
    assert (found["bfloat16"]["masks"] == found["float32"]["masks"]).mean() > 0.98
