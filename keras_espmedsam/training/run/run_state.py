"""Write the state of a training run to one file, completely or not at all."""

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_espmedsam._files import atomic_path
from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.training.run.random_states import check_random_states, random_states

_INFORMATION, _RANDOM = "information", "random_"


def write_state(
    path: str | os.PathLike, variables: Sequence[keras.Variable], information: dict[str, Any]
) -> None:
    """Write variables, random generators and other information to one `.npz` file.

    Args:
        path: the file; its previous content is replaced atomically.
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
    """Read a file written by `write_state`.

    Returns:
        dict of `information`, `arrays` (list of arrays), `variables` (their descriptions) and
        `random_states`.

    Raises:
        InputError: if the file is not a state.
    """
    try:
        check_plain_file(path)
        with np.load(path, allow_pickle=False) as file:
            # Nothing in it is compressed, so a small file cannot expand.
            if sum(one.file_size for one in file.zip.infolist()) > os.path.getsize(path):
                raise ValueError("it holds more than there is")
            state = json.loads(file[_INFORMATION].tobytes())
            state["arrays"] = [file[_key(i)] for i in range(len(state["variables"]))]
            state["random_states"] = {
                name.removeprefix(_RANDOM): file[name]
                for name in file.files
                if name.startswith(_RANDOM)
            }
            _check_arrays(state)
            check_random_states(state["random_states"])
    # A damaged zip file can raise almost any exception.
    except Exception as error:
        raise InputError(
            f"The file {path} is not the state of a run ({type(error).__name__}); expected one "
            "written by RunFolder. Move it away to start over."
        ) from error
    return state


def _check_arrays(state):
    """Raise for arrays that differ from their description, which is compared with a model's."""
    for (name, shape), array in zip(state["variables"], state["arrays"], strict=True):
        if list(array.shape) != shape or array.dtype.kind not in "biuf":
            raise ValueError(f"{name} is {array.dtype} of {array.shape}, and said to be {shape}")


def assign_state(
    path: str | os.PathLike, state: dict[str, Any], variables: Sequence[keras.Variable]
) -> None:
    """Assign a state's arrays to variables, after comparing all of them.

    Args:
        path: the file, for the error.
        state: dict from `read_state`.
        variables: list of `keras.Variable`.

    Raises:
        InputError: if the state belongs to other variables; then none is changed.
    """
    found, expected = state["variables"], _descriptions(variables)
    if found != expected:
        both = zip(found + [None], expected + [None], strict=False)
        held, wanted = next(pair for pair in both if pair[0] != pair[1])
        raise InputError(
            f"The state {path} belongs to another model or optimizer: it holds "
            f"{_described(held)} instead of {_described(wanted)}. Give another folder, or the "
            "model and optimizer that it was written with."
        )
    for variable, array in zip(variables, state["arrays"], strict=True):
        variable.assign(array)


def _key(index):
    return f"variable_{index:05d}"


def _to_numpy(variable):
    array = keras.ops.convert_to_numpy(variable)
    # NumPy's file format lacks bfloat16; float32 holds all of its values.
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _descriptions(variables):
    """Return names and shapes, without the numbers by which Keras separates equal names."""
    return [[re.sub(r"_?\d+", "", v.path), list(map(int, v.shape))] for v in variables]


def _described(description):
    return "nothing more" if description is None else f"{description[0]} of {description[1]}"
