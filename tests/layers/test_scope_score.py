import keras
import numpy as np
import pytest

from keras_espmedsam.layers import ScopeScore
from keras_espmedsam.ops.embedding_statistics import embedding_statistics

EMBEDDINGS = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype("float32")


def test_statistics_are_means_and_deviations():
    found = keras.ops.convert_to_numpy(embedding_statistics(EMBEDDINGS))
    expected = np.hstack([EMBEDDINGS.mean((1, 2)), EMBEDDINGS.std((1, 2))])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    same = keras.ops.convert_to_numpy(embedding_statistics(np.ones_like(EMBEDDINGS)))
    np.testing.assert_allclose(same, [[1, 1, 0.001, 0.001]] * 3, atol=1e-5)


def test_each_image_has_the_coefficients_of_its_modality():
    layer = ScopeScore([(0.5, 1, 0, 0, 2), (), (-0.5, 0, 3, 0, 0)])
    found = keras.ops.convert_to_numpy(layer(EMBEDDINGS, np.array([0, 1, 2], "int32")))
    logits = [
        0.5 + EMBEDDINGS[0, ..., 0].mean() + 2 * EMBEDDINGS[0, ..., 1].std(),
        -np.inf,  # Without a score.
        -0.5 + 3 * EMBEDDINGS[2, ..., 1].mean(),
    ]
    np.testing.assert_allclose(found, 2 / (1 + np.exp(-np.array(logits))), atol=1e-5)


@pytest.mark.parametrize("coefficients", [[()], [(1.0, 2.0)], [(1.0,) * 3, (1.0,) * 5], []])
def test_coefficients_of_other_shapes_are_refused(coefficients):
    with pytest.raises(ValueError, match="two for each channel"):
        ScopeScore(coefficients)
