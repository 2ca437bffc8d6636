"""The random generators that belong to the program and not to a model."""

import random

import keras
import numpy as np


def random_states() -> dict[str, np.ndarray]:
    """The states of Python's, NumPy's and, on torch, PyTorch's own generators.

    Keras keeps its seeds in variables, but shuffles arrays with the first two, and lets torch drop
    units out by itself.

    Returns:
        dict of name to array.

    Example:
        >>> states = random_states()
        >>> drawn = np.random.random()
        >>> set_random_states(states)
        >>> np.random.random() == drawn
        True

    Source: ours.
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


def set_random_states(states: dict[str, np.ndarray]) -> None:
    """Put back what `random_states` gave; generators that are not there are left alone.

    Args:
        states: dict of name to array.

    Source: ours.
    """
    version, *internal = states["python"].tolist()
    gauss = float(states["python_gauss"][0])
    random.setstate((version, tuple(internal), None if np.isnan(gauss) else gauss))
    position, has_gauss, *words = states["numpy"].tolist()
    np.random.set_state(
        ("MT19937", np.array(words, "uint32"), position, has_gauss, states["numpy_gauss"][0])
    )
    if keras.backend.backend() == "torch" and "torch" in states:
        import torch

        torch.set_rng_state(torch.from_numpy(states["torch"].copy()))
        if torch.cuda.is_available() and "torch_cuda" in states:
            torch.cuda.set_rng_state(torch.from_numpy(states["torch_cuda"].copy()))
