"""The exact (erf) GELU, in one place so that exporters can choose its form."""

import keras
from keras import ops


def gelu(x):
    """Exact GELU, `x * Phi(x)`, elementwise.

    Keras' `ops.gelu` defaults to the tanh approximation, which differs from the published
    weights' activation by up to 5e-4; `keras.activations.gelu` is exact.
    """
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's own is made of `Erfc`, which ONNX and OpenVINO do not have; of this form
        # TFLite makes its built-in GELU.
        half = ops.cast(0.5, x.dtype)
        return half * x * (ops.cast(1, x.dtype) + ops.erf(x * ops.cast(0.5**0.5, x.dtype)))
    return keras.activations.gelu(x, approximate=False)
