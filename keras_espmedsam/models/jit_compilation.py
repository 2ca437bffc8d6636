"""What `compile(jit_compile=True)` can be asked for on this backend."""

import keras

from keras_espmedsam.errors import InputError


def check_jit_compile(jit_compile="auto"):
    """Refuse compilation where it ends in an error deep inside.

    On PyTorch Keras hands its layers to TorchDynamo one by one. TorchDynamo compiles each anew for
    every shape and attribute, and then fails on the sizes that it made symbols of.

    Args:
        jit_compile: as `keras.Model.compile` takes it.

    Raises:
        InputError: for `True` on PyTorch.

    Example:
        >>> check_jit_compile("auto")

    Source: ours.
    """
    if jit_compile is True and keras.backend.backend() == "torch":
        raise InputError(
            "Received jit_compile=True on PyTorch, where TorchDynamo cannot compile Keras' layers; "
            'leave it at "auto", or set KERAS_BACKEND to jax or tensorflow, which compile.'
        )


def loaded_jit_compile(options):
    """What a saved model is compiled with, of the backend that it is loaded on.

    Keras writes down what `"auto"` was on the backend that saved, which is `True` on TensorFlow
    and JAX.

    Args:
        options: dict, arguments of `compile`.

    Returns:
        dict, without `jit_compile` where it cannot be done here.

    Example:
        >>> loaded_jit_compile({"jit_compile": False, "run_eagerly": True})["run_eagerly"]
        True

    Source: ours.
    """
    if options.get("jit_compile") and keras.backend.backend() == "torch":
        return {name: value for name, value in options.items() if name != "jit_compile"}
    return options
