"""The state of a training run in one file, written whole or not at all."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_espmedsam._files import atomic_path
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.run.random_states import random_states

_INFORMATION, _RANDOM = "information", "random_"


def write_state(
    path: str | os.PathLike, variables: Sequence[keras.Variable], information: dict[str, Any]
) -> None:
    """Write variables, random generators and what is known beside them to one `.npz` file.

    Args:
        path: the file; what it held before is replaced in one step.
        variables: list of `keras.Variable`.
        information: dict that JSON can hold.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/state.npz"
        >>> variable = keras.Variable([1.0, 2.0], name="kernel")
        >>> write_state(path, [variable], {"epoch": 3})
        >>> state = read_state(path)
        >>> state["information"], state["arrays"][0].tolist()
        ({'epoch': 3}, [1.0, 2.0])

    Source: ours.
    """
    text = json.dumps({"information": information, "variables": _descriptions(variables)})
    arrays: dict[str, Any] = {
        _INFORMATION: np.frombuffer(text.encode(), "uint8"),
        **{_key(i): _to_numpy(variable) for i, variable in enumerate(variables)},
        **{_RANDOM + name: array for name, array in random_states().items()},
    }
    with atomic_path(path) as temporary:
        np.savez(temporary, **arrays)


def read_state(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `write_state` wrote.

    Returns:
        dict of `information`, `arrays` (list of arrays), `variables` (their descriptions) and
        `random_states`.

    Raises:
        InputError: when the file is not a state.

    Source: ours.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            state = json.loads(file[_INFORMATION].tobytes())
            state["arrays"] = [file[_key(i)] for i in range(len(state["variables"]))]
            state["random_states"] = {
                name.removeprefix(_RANDOM): file[name]
                for name in file.files
                if name.startswith(_RANDOM)
            }
    # A damaged zip file raises nearly anything.
    except Exception as error:
        raise InputError(
            f"The file {path} is not the state of a run ({type(error).__name__}); expected one "
            "written by RunFolder. Move it away to begin anew."
        ) from error
    return state


def assign_state(
    path: str | os.PathLike, state: dict[str, Any], variables: Sequence[keras.Variable]
) -> None:
    """Put a state's arrays into variables, after all were compared with them.

    Args:
        path: the file, for the error.
        state: dict, as `read_state` gives it.
        variables: list of `keras.Variable`.

    Raises:
        InputError: when the state belongs to other variables; none is changed then.

    Source: ours.
    """
    found, expected = state["variables"], _descriptions(variables)
    if found != expected:
        both = zip(found + [None], expected + [None], strict=False)
        held, wanted = next(pair for pair in both if pair[0] != pair[1])
        raise InputError(
            f"The state {path} belongs to another model or optimizer: it holds {_said(held)} where "
            f"{_said(wanted)} is expected. Give another folder, or what it was written with."
        )
    for variable, array in zip(variables, state["arrays"], strict=True):
        variable.assign(array)


def _key(index):
    return f"variable_{index:05d}"


def _to_numpy(variable):
    array = keras.ops.convert_to_numpy(variable)
    # NumPy's own files know no bfloat16, of which float32 holds every value.
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _descriptions(variables):
    """Name and shape of each; without the numbers by which Keras tells equal names apart."""
    return [[re.sub(r"_?\d+", "", v.path), list(map(int, v.shape))] for v in variables]


def _said(description):
    return "nothing more" if description is None else f"{description[0]} of {description[1]}"
