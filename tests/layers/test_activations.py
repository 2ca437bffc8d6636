import keras
import numpy as np
from scipy.stats import norm

from keras_espmedsam.layers.activations import gelu


def test_gelu_is_the_exact_form():
    x = np.linspace(-6, 6, 49).astype("float32")
    ours = keras.ops.convert_to_numpy(gelu(keras.ops.convert_to_tensor(x)))
    # The tanh approximation is 5e-4 away.
    np.testing.assert_allclose(ours, x * norm.cdf(x), atol=2e-6)


def test_only_what_is_given_up_is_written_to():
    values = np.linspace(-3, 3, 7).astype("float32")
    expected = values * norm.cdf(values)
    for overwrite in (False, True):
        x = keras.ops.convert_to_tensor(values)
        if keras.backend.backend() == "torch":
            x.requires_grad_(True)
        y = gelu(x, overwrite=overwrite)
        np.testing.assert_allclose(
            keras.ops.convert_to_numpy(y), values * norm.cdf(values), atol=2e-6
        )
        # A gradient needs it again.
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(x), values)
    if keras.backend.backend() == "torch":
        import torch

        with torch.no_grad():
            x = torch.tensor(values)
            gelu(x)
            np.testing.assert_array_equal(x.numpy(), values)
            y = gelu(x, overwrite=True)
            np.testing.assert_allclose(y.numpy(), expected, atol=2e-6)
            assert y.data_ptr() == x.data_ptr()
