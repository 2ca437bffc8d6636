"""The network for comparison goes through the same code as a segmenter."""

import numpy as np
import pytest

from keras_espmedsam.errors import InputError


@pytest.fixture(scope="module")
def unet(load):
    return load("unet")


def test_it_has_the_size_that_the_results_say(unet):
    assert unet.build_unet(None, (64, 64)).count_params() == 1_945_521


def test_a_backbone_without_embeddings_has_no_scope(unet):
    with pytest.raises(InputError, match="UNetBackbone gives no `image_embeddings`"):
        unet.UNetImageSegmenter(unet.UNetBackbone(), scope={"any": [0.0] * 9})


def test_it_segments_images_of_any_size_and_is_saved(unet, tmp_path):
    segmenter = unet.build_unet(None, (64, 64))
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype="uint8")
    result = segmenter.segment(image, "any")
    assert result["masks"].shape == (50, 70)
    segmenter.save_to_preset(tmp_path)
    again = type(segmenter).from_preset(tmp_path).segment(image)
    np.testing.assert_allclose(again["probabilities"], result["probabilities"], atol=1e-6)
