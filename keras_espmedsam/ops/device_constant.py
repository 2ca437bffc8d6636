"""Arrays and numbers from a layer's configuration, kept on the device that uses them."""

import functools

import keras
from keras import ops

# Entries by function, arguments and device. Far more than one model needs; a program that goes
# through many map sizes drops the oldest.
MOST_KEPT = 256


def device_constant(make, *args, like):
    """Return the array `make(*args)` on the device of `like`; on PyTorch it is uploaded only once.

    PyTorch runs a layer operation by operation, so an array or number made in `call` would be
    uploaded in every step, and each upload makes a GPU wait for the host. On TensorFlow and JAX
    such an array is part of the compiled program.

    Args:
        make: a deterministic function that returns an array; a named one, since the array is
            cached by it.
        args: hashable.
        like: the tensor, not a `keras.Variable`, that the constant is used with.

    Returns:
        Tensor of `make(*args)`'s dtype, not to be written to; on JAX the array.

    Example:
        >>> places = device_constant(np.arange, 3, like=keras.ops.ones((2, 3)))
        >>> keras.ops.convert_to_numpy(places).tolist()
        [0, 1, 2]
    """
    backend = keras.backend.backend()
    if backend == "jax":
        # Not a tensor: under gradient checkpointing it would be traced, and a function with a
        # custom gradient cannot close over it.
        return make(*args)
    if backend == "tensorflow":
        return ops.convert_to_tensor(make(*args))
    return _uploaded(make, args, like.device) if _is_plain(like) else _made(make, args, like.device)


def device_number(value, like):
    """Return a number for operations of Keras that would make a tensor of it, such as `where`.

    On PyTorch this tensor would be uploaded in every step; see `device_constant`. Operators
    (`x + 1`) and `ops.sum(x) / 2` make none.

    Args:
        value: bool, int or float.
        like: the tensor that it is used with.

    Returns:
        On PyTorch a scalar tensor of `like`'s dtype; elsewhere the number.

    Example:
        >>> x = keras.ops.array([-1.0, 2.0])
        >>> keras.ops.convert_to_numpy(keras.ops.maximum(x, device_number(0, like=x))).tolist()
        [0.0, 2.0]
    """
    if keras.backend.backend() == "torch" and _is_plain(like):
        return _uploaded(_torch_scalar, (value, like.dtype), like.device)
    return value


def _torch_scalar(value, dtype):
    import torch

    return torch.tensor(value, dtype=dtype)


def _is_plain(like):
    """Whether tensors made here are ordinary ones, which can be used anywhere later.

    They are not while a graph is captured: a kept tensor would be a value of that graph.
    """
    import torch

    plain = type(like) in (torch.Tensor, torch.nn.Parameter)
    return plain and not torch.compiler.is_compiling() and not torch.jit.is_tracing()


def _made(make, args, device):
    import torch

    return torch.as_tensor(make(*args), device=device)


@functools.lru_cache(MOST_KEPT)
def _uploaded(make, args, device):
    import torch

    # A tensor made within `torch.inference_mode` could never be part of a training step.
    with torch.inference_mode(False):
        return _made(make, args, device)
