"""The losses between a teacher's and a student's features, against NumPy."""

import keras
import numpy as np
import pytest

from keras_espmedsam.errors import InputError
from keras_espmedsam.losses import CosineEmbeddingLoss, EmbeddingMSE, NormalizedMSE


@pytest.fixture
def features():
    """Three images of a teacher and a student; the last one's student is the teacher's scaled."""
    rng = np.random.default_rng(4)
    teacher = rng.normal(1, 2, (3, 4, 5, 6)).astype("float32")
    student = rng.normal(-1, 3, (3, 4, 5, 6)).astype("float32")
    student[2] = 3 * teacher[2]
    return teacher, student


def _mse(teacher, student):
    return ((teacher - student) ** 2).mean((1, 2, 3))


def _cosine(teacher, student):
    products = (teacher * student).sum(-1)
    lengths = np.linalg.norm(teacher, axis=-1) * np.linalg.norm(student, axis=-1)
    return (1 - products / lengths).mean((1, 2))


def _normalized(teacher, student, epsilon=1e-6):
    def standardized(x):
        variance = x.var((1, 2), keepdims=True)
        return (x - x.mean((1, 2), keepdims=True)) / np.sqrt(variance + epsilon)

    return _mse(standardized(teacher), standardized(student))


FORMS = [(EmbeddingMSE, _mse), (CosineEmbeddingLoss, _cosine), (NormalizedMSE, _normalized)]


@pytest.mark.parametrize(("loss", "form"), FORMS)
def test_one_value_per_image_and_sample_weight(loss, form, features):
    expected = form(*(x.astype("float64") for x in features))
    values = keras.ops.convert_to_numpy(loss(reduction=None)(*features))
    np.testing.assert_allclose(values, expected, rtol=1e-5, atol=1e-5)
    weights = np.array([0.0, 2.0, 0.5], "float32")
    weighted = float(loss()(*features, sample_weight=weights))
    assert weighted == pytest.approx((expected * weights).mean(), rel=1e-5)


def test_only_the_mean_squared_error_sees_a_scale(features):
    values = [float(keras.ops.sum(loss(reduction=None)(*features)[2])) for loss, _ in FORMS]
    assert values[0] > 1
    assert max(values[1:]) < 1e-5


def test_epsilon_of_the_variance(features):
    value = keras.ops.convert_to_numpy(NormalizedMSE(0.5, reduction=None)(*features))
    np.testing.assert_allclose(value, _normalized(*features, 0.5), rtol=1e-5)
    assert NormalizedMSE.from_config(NormalizedMSE(0.5).get_config()).epsilon == 0.5


@pytest.mark.parametrize("loss", [CosineEmbeddingLoss, NormalizedMSE])
def test_features_of_zero_are_finite(loss, features, input_gradient):
    teacher = features[0]
    zeros = np.zeros_like(teacher)
    # The cosine with nothing is 0; a constant channel is 0 everywhere, a standardised one has
    # variance 1.
    assert float(loss()(teacher, zeros)) == pytest.approx(1, abs=1e-5)
    assert np.isfinite(input_gradient(lambda x: loss()(teacher, x), zeros)).all()


@pytest.mark.parametrize(("loss", "form"), FORMS)
def test_half_precision_is_computed_in_float32(loss, form, features):
    # Squares and sums of these overflow float16.
    halves = [(x * 300).astype("float16") for x in features]
    value = loss().call(*(keras.ops.convert_to_tensor(x) for x in halves))
    assert keras.backend.standardize_dtype(value.dtype) == "float32"
    expected = form(*(x.astype("float64") for x in halves))
    np.testing.assert_allclose(keras.ops.convert_to_numpy(value), expected, rtol=1e-4, atol=1e-5)


def test_places_are_needed_to_standardise_over():
    with pytest.raises(InputError, match="positions to standardise over"):
        NormalizedMSE()(np.zeros((2, 8)), np.zeros((2, 8)))
