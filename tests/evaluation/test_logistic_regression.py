import numpy as np

from keras_espmedsam.evaluation.logistic_regression import logistic_regression

RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(500, 2)) * [1, 20] + [3, 0]
CHANCES = 1 / (1 + np.exp(-(INPUTS @ [2, -0.1] - 5)))


def test_it_finds_what_made_its_data():
    offset, factors = logistic_regression(INPUTS, CHANCES, np.ones(500), 1e-6)
    np.testing.assert_allclose([offset, *factors], [-5, 2, -0.1], atol=1e-3)


def test_it_is_where_the_gradient_is_zero():
    weights = RNG.uniform(0.5, 2, 500)
    labels = (CHANCES > 0.5) * 1.0
    offset, factors = logistic_regression(INPUTS, labels, weights, 4.0)
    weights /= weights.mean()
    mean = np.average(INPUTS, axis=0, weights=weights)
    scale = np.sqrt(np.average((INPUTS - mean) ** 2, axis=0, weights=weights))
    errors = weights * (labels - 1 / (1 + np.exp(-(offset + INPUTS @ factors))))
    np.testing.assert_allclose(errors.sum(), 0, atol=1e-3)
    gradient = errors @ ((INPUTS - mean) / scale)
    np.testing.assert_allclose(gradient, 4 * factors * scale, atol=1e-3)
