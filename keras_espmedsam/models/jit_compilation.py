"""Which values of `compile(jit_compile=...)` this backend supports."""

import keras

from keras_espmedsam.errors import InputError


def check_jit_compile(jit_compile="auto"):
    """Raise for compilation that would fail with an error deep inside the backend.

    On PyTorch, Keras passes its layers to TorchDynamo one by one. TorchDynamo recompiles each for
    every shape and attribute, and then fails on the sizes that it has made symbolic.

    Args:
        jit_compile: as `keras.Model.compile` takes it.

    Raises:
        InputError: for `True` on PyTorch.

    Example:
        >>> check_jit_compile("auto")
    """
    if jit_compile is True and keras.backend.backend() == "torch":
        raise InputError(
            "Received jit_compile=True on PyTorch, where TorchDynamo cannot compile Keras' layers; "
            'leave it at "auto", or set KERAS_BACKEND to jax or tensorflow, which compile.'
        )


def loaded_jit_compile(options):
    """Return compile options of a saved model that work on the backend that loads it.

    Keras saves the value that `"auto"` had on the saving backend, which is `True` on TensorFlow
    and JAX.

    Args:
        options: dict, arguments of `compile`.

    Returns:
        dict, without `jit_compile` if this backend does not support it.

    Example:
        >>> loaded_jit_compile({"jit_compile": False, "run_eagerly": True})["run_eagerly"]
        True
    """
    if options.get("jit_compile") and keras.backend.backend() == "torch":
        return {name: value for name, value in options.items() if name != "jit_compile"}
    return options
