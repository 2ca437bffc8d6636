"""The precision of a preset: that of Keras when it is loaded, whatever it was saved in.

keras-hub loads so what was saved in float32, float16 or bfloat16, and any backbone; on a task that
was saved in mixed precision it fails (`Invalid dtype: mixed_bfloat16`). `dtype=` goes before.
"""

import json
import os
import pathlib
from typing import Any

from keras_espmedsam._files import atomic_path
from keras_espmedsam.hub.saved_config import read_config


def dtype_to_load(folder: str | os.PathLike) -> Any:
    """The `dtype` with which keras-hub is to load a preset, where it would fail without one.

    Args:
        folder: path.

    Returns:
        `keras.DTypePolicy`, Keras' current one, or `None`: keras-hub decides.

    Example:
        >>> dtype_to_load(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256") is None
        True

    Source: ours.
    """
    if not _is_mixed(_read(folder)):
        return None
    # Not at the top: the names of the presets are listed without Keras.
    import keras

    return keras.config.dtype_policy()


def leave_out_mixed_dtype(folder: str | os.PathLike) -> None:
    """Let keras-hub's own classes load a preset that was just saved in mixed precision.

    Args:
        folder: path.

    Source: ours.
    """
    config = _read(folder)
    if _is_mixed(config):
        config["config"]["dtype"] = None
        with atomic_path(pathlib.Path(folder) / "config.json") as temporary:
            temporary.write_text(json.dumps(config, indent=4), encoding="utf-8")


def _read(folder):
    return read_config(folder) if (pathlib.Path(folder) / "config.json").is_file() else {}


def _is_mixed(config):
    dtype = config.get("config", {}).get("dtype")
    if isinstance(dtype, dict):
        dtype = dtype.get("config")
    name = dtype.get("name") if isinstance(dtype, dict) else dtype
    return isinstance(name, str) and name.startswith("mixed_")
