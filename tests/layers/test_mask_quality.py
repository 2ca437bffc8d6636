import keras
import numpy as np
import pytest

from keras_espmedsam.imaging.mask_statistic_names import STATISTICS
from keras_espmedsam.layers import MaskQuality
from keras_espmedsam.ops.mask_statistics import mask_statistics

# Every fourth pixel is read: two rows of two.
LOGITS = np.full((2, 8, 8, 2), 5.0, "float32")
LOGITS[0, ::4, ::4, 0] = [[8.0, -2.0], [-1.0, 4.0]]
LOGITS[1, ..., 1] = -np.inf


def logit(share):
    return np.log((share + 0.02) / (1.02 - share))


def test_statistics_are_those_of_the_definition():
    found = keras.ops.convert_to_numpy(mask_statistics(LOGITS))
    assert found.shape == (2, 2, len(STATISTICS))
    p = 1 / (1 + np.exp(-np.array([8.0, -2.0, -1.0, 4.0])))
    m = np.array([1.0, 0.0, 0.0, 1.0])
    expected = [
        logit((2 * (m * p).mean() + 1e-4) / (m.mean() + p.mean() + 1e-4)),
        np.log(0.5 + 1e-4),
        logit(((m * p).mean() + 5e-5) / (0.5 + 1e-4)),
        logit(p[0]),
        np.log((p[1] + p[2]) / 4 / 0.5 + 1e-3),
    ]
    np.testing.assert_allclose(found[0, 0], expected, atol=1e-3)


def test_an_empty_mask_has_finite_statistics():
    found = keras.ops.convert_to_numpy(mask_statistics(LOGITS))[1, 1]
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found[1], np.log(1e-4), atol=1e-4)


def test_each_channel_has_the_coefficients_of_its_modality():
    layer = MaskQuality([[(0.5, 0, 0, 0, 0, 0), ()], [(0, 1, 0, 0, 0, 0), (0, 0, 0, 0, 2, 0)]])
    found = keras.ops.convert_to_numpy(layer(LOGITS, np.array([0, 1], "int32")))
    statistics = keras.ops.convert_to_numpy(mask_statistics(LOGITS))
    expected = [[0.5, -np.inf], [statistics[1, 0, 0], 2 * statistics[1, 1, 3]]]
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-np.array(expected))), atol=1e-6)


@pytest.mark.parametrize("coefficients", [[[(1.0,)]], [[()], [(), ()]], []])
def test_coefficients_of_other_shapes_are_refused(coefficients):
    with pytest.raises(ValueError, match="expected as many channels"):
        MaskQuality(coefficients)
