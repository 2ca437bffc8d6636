"""The exact (erf) GELU, in one place so that exporters can choose its form."""

import keras
from keras import ops


def gelu(x, overwrite=False):
    """Exact GELU, `x * Phi(x)`, elementwise.

    Keras' `ops.gelu` defaults to the tanh approximation, which differs from the published
    weights' activation by up to 5e-4; `keras.activations.gelu` is exact.

    Args:
        x: tensor.
        overwrite: bool. Whether `x` is not used elsewhere: on PyTorch, if no gradient needs it, its
            memory is reused. Allocating new memory costs more than a GELU.
    """
    if keras.backend.backend() == "torch" and overwrite:
        import torch

        if not torch.is_grad_enabled() and isinstance(x, torch.Tensor):
            return torch.ops.aten.gelu_(x)
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's own uses `Erfc`, which ONNX and OpenVINO do not have; TFLite recognises this
        # form as its built-in GELU.
        half = ops.cast(0.5, x.dtype)
        return half * x * (ops.cast(1, x.dtype) + ops.erf(x * ops.cast(0.5**0.5, x.dtype)))
    return keras.activations.gelu(x, approximate=False)
