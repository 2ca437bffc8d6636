import math

import numpy as np
import pytest

from keras_espmedsam.errors import InputError

pytestmark = pytest.mark.usefixtures("untraced_tensorflow")

IMAGE = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype="uint8")


@pytest.fixture(scope="module")
def single(segmenter):
    return segmenter.specialize("lung")


def test_masks_equal_the_universal_models(segmenter, single):
    np.testing.assert_allclose(
        single.segment(IMAGE)["probabilities"],
        segmenter.segment(IMAGE, "lung")["probabilities"],
        atol=1e-6,
    )


def test_one_controller_all_queries_and_no_modalities_input(segmenter, single):
    def size(backbone, k):
        return sum(
            math.prod(w.shape) for layer in backbone.controller_layers(k) for w in layer.weights
        )

    saved = segmenter.count_params() - single.count_params()
    assert saved == 2 * size(segmenter.backbone, 1) > 0
    assert single.backbone.mask_decoder.queries.shape == (4, 16)
    assert set(single.input) == {"images"}
    assert single.modalities == ("lung",)


def test_weights_are_its_own(segmenter, build):
    copy = segmenter.specialize("eye")
    before = [build.array(w) for w in segmenter.weights]
    for weight in copy.weights:
        weight.assign(build.array(weight) + 1)
    for old, weight in zip(before, segmenter.weights, strict=True):
        np.testing.assert_array_equal(old, build.array(weight))


def test_an_unknown_modality_is_named(segmenter):
    with pytest.raises(InputError, match="knows skin, lung, eye"):
        segmenter.specialize("brain")
