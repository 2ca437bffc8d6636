"""The exact (erf) GELU, in one place so that exporters can choose its form."""

import keras
from keras import ops


def gelu(x, overwrite=False):
    """Exact GELU, `x * Phi(x)`, elementwise.

    Keras' `ops.gelu` defaults to the tanh approximation, which differs from the published
    weights' activation by up to 5e-4; `keras.activations.gelu` is exact.

    Args:
        x: tensor.
        overwrite: bool. Whether nobody else uses `x`: on PyTorch, where no gradient needs it, its
            memory is written to. Memory that is new to the process costs more than a GELU.
    """
    if keras.backend.backend() == "torch" and overwrite:
        import torch

        if not torch.is_grad_enabled() and isinstance(x, torch.Tensor):
            return torch.ops.aten.gelu_(x)
    if keras.backend.backend() == "tensorflow":
        # TensorFlow's own is made of `Erfc`, which ONNX and OpenVINO do not have; of this form
        # TFLite makes its built-in GELU.
        half = ops.cast(0.5, x.dtype)
        return half * x * (ops.cast(1, x.dtype) + ops.erf(x * ops.cast(0.5**0.5, x.dtype)))
    return keras.activations.gelu(x, approximate=False)
