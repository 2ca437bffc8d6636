import keras
import numpy as np
from scipy.stats import norm

from keras_espmedsam.layers.activations import gelu


def test_gelu_is_the_exact_form():
    x = np.linspace(-6, 6, 49).astype("float32")
    ours = keras.ops.convert_to_numpy(gelu(keras.ops.convert_to_tensor(x)))
    # The tanh approximation is 5e-4 away.
    np.testing.assert_allclose(ours, x * norm.cdf(x), atol=2e-6)
