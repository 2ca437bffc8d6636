"""The exact (erf) GELU, in one place so that exporters can choose its form."""

import keras


def gelu(x):
    """Exact GELU, `x * Phi(x)`, elementwise.

    Keras' `ops.gelu` defaults to the tanh approximation, which differs from the published
    weights' activation by up to 5e-4; `keras.activations.gelu` is exact.
    """
    return keras.activations.gelu(x, approximate=False)
