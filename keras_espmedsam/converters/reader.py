"""Read checkpoints of other frameworks without ever running code from them."""

import importlib
import os
import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam._plain_file import check_plain_file
from keras_espmedsam._shown import shown, shown_value
from keras_espmedsam._startup import require
from keras_espmedsam.errors import InputError

# Training scripts put the weights under one of these names, next to optimizer and epoch.
_WRAPPERS = ("state_dict", "model", "model_state_dict")
# What torch.nn.DataParallel adds before every name.
_DATA_PARALLEL = "module."
# They may be nested, but not endlessly: a pickle can hold a dict inside itself.
_DEEPEST = 8
_LONGEST_NAME = 1000
# How often a checkpoint may use one number: torch.save stores tied weights once, and a tensor of
# stride 0 asks for any amount of memory with a few bytes.
_MAX_REPEATS = 64
_SMALL = 64 * 2**20
# A zip file (written by torch.save) and a pickle (written before PyTorch 1.6).
_TORCH_MAGIC = (b"PK", b"\x80")


def read_checkpoint(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Read the tensors of a PyTorch or safetensors checkpoint.

    Weights under `state_dict`, `model` or `model_state_dict` are found, and the prefix `module.` of
    `torch.nn.DataParallel` is removed if every name has it. Floats of any width become float32;
    integers stay.

    Args:
        path: a `.pth` or `.pt` file, which needs PyTorch (extra `checkpoints`), or a
            `.safetensors` file, which does not.

    Returns:
        dict of name to array, in PyTorch's layout.

    Raises:
        InputError: if the file does not exist, is empty, cut short or of another kind, holds
            anything but tensors, or would run code when loaded (the code is not run).

    Example:
        >>> import os, safetensors.numpy, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "weights.safetensors")
        >>> safetensors.numpy.save_file({"module.bias": np.ones(3, "float16")}, path)
        >>> read_checkpoint(path)
        {'bias': array([1., 1., 1.], dtype=float32)}
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in (".pth", ".pt", ".safetensors"):
        raise InputError(
            f"Received {path} as a checkpoint; expected a .pth, .pt or .safetensors file."
        )
    try:
        check_plain_file(path)
        with path.open("rb") as file:
            start = file.read(2)
    except FileNotFoundError as error:
        raise InputError(f"The checkpoint {path} does not exist; check the path.") from error
    # ValueError: a path with a null byte.
    except (OSError, ValueError) as error:
        raise InputError(
            f"The checkpoint {path} cannot be opened "
            f"({getattr(error, 'strerror', None) or shown(error)}); check that it is a file and "
            "may be read."
        ) from error
    if not start:
        raise InputError(f"The checkpoint {path} is empty; download or copy it again.")
    if suffix == ".safetensors":
        arrays = _read_safetensors(path)
    else:
        arrays = _read_torch(path, start)
    if not arrays:
        raise InputError(f"The checkpoint {path} holds no tensors; give one with a state dict.")
    _check_names(path, arrays)
    if all(name.startswith(_DATA_PARALLEL) for name in arrays):
        arrays = {name.removeprefix(_DATA_PARALLEL): array for name, array in arrays.items()}
    return arrays


def _check_names(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    for name in arrays:
        if len(name) > _LONGEST_NAME:
            raise InputError(
                f"The checkpoint {path} names a tensor {shown(name)}, with {len(name):,} "
                "characters; no model does, so it is damaged. Download or copy it again."
            )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    safetensors = require("safetensors", "Reading .safetensors files", "checkpoints")
    importlib.import_module("ml_dtypes")  # Adds bfloat16 to NumPy; Keras depends on it.
    try:
        arrays = importlib.import_module("safetensors.numpy").load_file(path)
    # A wrong header fails in Rust, in NumPy, or by requesting too much memory.
    except (
        *(safetensors.SafetensorError, AttributeError, KeyError, TypeError, ValueError),
        *(OSError, OverflowError, MemoryError, UnicodeDecodeError),
    ) as error:
        raise InputError(
            f"The checkpoint {path} is damaged or cut short, or holds numbers that NumPy does not "
            f"know ({_first_line(error)}); download or copy it again."
        ) from error
    return {name: _widened(array) for name, array in arrays.items()}


def _widened(array: np.ndarray) -> np.ndarray:
    # bfloat16 and the 8-bit floats are of NumPy kind "V", not "f".
    return array if array.dtype.kind in "biu" else array.astype("float32")


def _read_torch(path: Path, start: bytes) -> dict[str, np.ndarray]:
    if not start.startswith(_TORCH_MAGIC):
        raise InputError(
            f"The file {path} is not a PyTorch checkpoint; give one written by torch.save."
        )
    torch = require("torch", "Reading .pth and .pt files", "checkpoints")
    try:
        with warnings.catch_warnings():
            # torch's warnings about old pickles and TorchScript archives are for its developers.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise _refused_pickle(path, error) from error
    # Each kind of damage raises another type of error (EOFError, KeyError, RuntimeError...).
    except Exception as error:
        if "TorchScript" in str(error):
            raise InputError(
                f"The file {path} is a TorchScript program, which would run code; save only its "
                "weights with torch.save(model.state_dict(), PATH)."
            ) from error
        raise InputError(
            f"The checkpoint {path} is damaged or cut short; download or copy it again."
        ) from error
    return _arrays(path, content, torch)


def _refused_pickle(path: Path, error: Exception) -> InputError:
    found = re.search(r"GLOBAL (\S+)", str(error))
    if found:
        what = f"holds the Python object {shown(found.group(1))}, which could run code when loaded"
    else:
        what = "is damaged or holds something other than tensors"
    return InputError(
        f"The checkpoint {path} {what}, so it was not loaded; save only the weights with "
        "torch.save(model.state_dict(), PATH), or as .safetensors."
    )


def _arrays(path: Path, content: Any, torch: Any) -> dict[str, np.ndarray]:
    for _ in range(_DEEPEST + 1):
        wrapped = [
            key
            for key in _WRAPPERS
            if isinstance(content, Mapping) and isinstance(content.get(key), Mapping)
        ]
        if not wrapped:
            break
        content = content[wrapped[0]]
    else:
        raise InputError(
            f"The checkpoint {path} holds itself, or a state dict more than {_DEEPEST} levels "
            "deep; save only the weights with torch.save(model.state_dict(), PATH)."
        )
    if not isinstance(content, Mapping):
        raise InputError(
            f"The checkpoint {path} holds a {type(content).__name__}; expected a state dict, a "
            "mapping of names to tensors."
        )
    arrays: dict[str, np.ndarray] = {}
    asked, stored = 0, path.stat().st_size
    for name, tensor in content.items():
        if not isinstance(name, str):
            raise InputError(
                f"The checkpoint {path} holds {shown_value(name)} among the names of its tensors; "
                "expected text. Save only the state dict."
            )
        if not isinstance(tensor, torch.Tensor):
            raise InputError(
                f"The checkpoint {path} holds {shown_value(name)} of type "
                f"{shown(type(tensor).__name__)} among its tensors; save only the state dict, or "
                "put it under the name 'state_dict'."
            )
        asked += tensor.numel() * tensor.element_size()
        if asked > _MAX_REPEATS * stored + _SMALL:
            raise InputError(
                f"The checkpoint {path} has {stored:,} bytes but tensors of more than {asked:,}, "
                f"first at {shown(name)}; it is damaged or made to fill the memory."
            )
        if tensor.is_floating_point():
            tensor = tensor.to(torch.float32)
        try:
            arrays[name] = tensor.detach().numpy()
        except (TypeError, RuntimeError) as error:
            raise InputError(
                f"The checkpoint {path} holds {shown_value(name)} as a tensor that is not a "
                f"plain array ({_first_line(error)}); save it dense and on the CPU."
            ) from error
    return arrays


def _first_line(error: Exception) -> str:
    return shown((str(error).splitlines() or [type(error).__name__])[0].rstrip("."), 200)
