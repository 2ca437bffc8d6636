"""Load a preset in Keras' current precision, whatever it was saved in.

keras-hub does this too, except that a task saved in mixed precision fails to load (`Invalid dtype:
mixed_bfloat16`). An explicit `dtype=` takes precedence.
"""

import json
import os
import pathlib
from typing import Any

from keras_espmedsam._files import atomic_path
from keras_espmedsam.hub.saved_config import read_config


def dtype_to_load(folder: str | os.PathLike) -> Any:
    """Return the `dtype` to pass to keras-hub for a preset that it cannot load without one.

    Args:
        folder: path of the preset.

    Returns:
        Keras' current `keras.DTypePolicy`, or `None` to let keras-hub decide.

    Example:
        >>> dtype_to_load(kem.hub.built_in_presets.presets_dir() / "espmedsam_nano_256") is None
        True
    """
    if not _is_mixed(_read(folder)):
        return None
    # Not at the top, so that presets can be listed without Keras.
    import keras

    return keras.config.dtype_policy()


def leave_out_mixed_dtype(folder: str | os.PathLike) -> None:
    """Remove a mixed dtype from a saved preset, so that keras-hub's own classes can load it.

    Args:
        folder: path of the preset.
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
