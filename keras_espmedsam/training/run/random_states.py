"""States of the random generators that belong to the program, not to a model."""

import random

import keras
import numpy as np


def random_states() -> dict[str, np.ndarray]:
    """Return the states of Python's, NumPy's and, on torch, PyTorch's own generators.

    Keras keeps its seeds in variables, but shuffles arrays with the first two, and uses torch's
    own dropout.

    Returns:
        dict of name to array.

    Example:
        >>> states = random_states()
        >>> drawn = np.random.random()
        >>> set_random_states(states)
        >>> np.random.random() == drawn
        True
    """
    _, words, position, has_gauss, gauss = np.random.get_state()
    version, internal, gauss_next = random.getstate()
    states = {
        "python": np.array([version, *internal], "uint64"),
        "python_gauss": np.array([np.nan if gauss_next is None else gauss_next]),
        "numpy": np.array([position, has_gauss, *words], "uint64"),
        "numpy_gauss": np.array([gauss]),
    }
    if keras.backend.backend() == "torch":
        import torch

        states["torch"] = torch.get_rng_state().numpy()
        if torch.cuda.is_available():
            states["torch_cuda"] = torch.cuda.get_rng_state().numpy()
    return states


def check_random_states(states: dict[str, np.ndarray]) -> None:
    """Raise if `set_random_states` could not restore the states; changes no generator.

    Args:
        states: dict of name to array.

    Raises:
        Exception: of any kind, if they are damaged.

    Example:
        >>> check_random_states({"python": np.zeros(3)})
        Traceback (most recent call last):
        KeyError: 'python_gauss'
    """
    random.Random().setstate(_python_state(states))
    np.random.RandomState().set_state(_numpy_state(states))
    if keras.backend.backend() == "torch" and "torch" in states:
        import torch

        torch.Generator().set_state(torch.from_numpy(states["torch"].copy()))


def set_random_states(states: dict[str, np.ndarray]) -> None:
    """Restore states from `random_states`; generators that are missing stay as they are.

    Args:
        states: dict of name to array.
    """
    random.setstate(_python_state(states))
    np.random.set_state(_numpy_state(states))
    if keras.backend.backend() == "torch" and "torch" in states:
        import torch

        torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
        if torch.cuda.is_available() and "torch_cuda" in states:
            torch.cuda.set_rng_state(torch.from_numpy(states["torch_cuda"].copy()))


def _python_state(states):
    version, *internal = states["python"].tolist()
    gauss = float(states["python_gauss"][0])
    return version, tuple(internal), None if np.isnan(gauss) else gauss


def _numpy_state(states):
    position, has_gauss, *words = states["numpy"].tolist()
    gauss = states["numpy_gauss"][0]
    return "MT19937", np.array(words, "uint32"), position, has_gauss, gauss
