"""What is settled before Keras is imported: the backend, and which extras are installed."""

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType

from keras_espmedsam.errors import InputError

# The backends this package is tested on, in order of preference, and the module of each.
_MODULES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}


def choose_backend() -> str:
    """Choose the Keras backend without importing Keras or any backend.

    In this order: the backend of an already imported Keras; the environment variable
    `KERAS_BACKEND`; the backend named in Keras's own `keras.json`, if it is installed (Keras
    writes "tensorflow" there unasked); the first of TensorFlow, JAX and PyTorch that is
    installed. In the last case `KERAS_BACKEND` is set, so that Keras follows.

    Returns:
        The backend's name, such as `"jax"`.

    Raises:
        ImportError: when none of the three backends is installed.

    Example:
        >>> choose_backend() in ("tensorflow", "jax", "torch", "openvino")
        True

    Source: ours.
    """
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "config"):
        return sys.modules["keras"].config.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    configured = _configured_backend()
    if configured and _is_installed(configured):
        return configured
    for name in _MODULES:
        if _is_installed(name):
            os.environ["KERAS_BACKEND"] = name
            return name
    raise ImportError(
        "No Keras backend is installed; keras-espmedsam needs TensorFlow, JAX or PyTorch. Install "
        'one, for example with: pip install "keras-espmedsam[tensorflow]"'
    )


def _configured_backend() -> str | None:
    home = Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser()
    try:
        backend = json.loads((home / "keras.json").read_text(encoding="utf-8")).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
    return backend if isinstance(backend, str) else None


def _is_installed(backend: str) -> bool:
    return importlib.util.find_spec(_MODULES.get(backend, backend)) is not None


def require(module: str, purpose: str, extra: str = "medical") -> ModuleType:
    """Import an optional library when it is first needed.

    Args:
        module: the module to import, such as `"pydicom"`.
        purpose: what needs it, as the beginning of a sentence: `"Reading DICOM files"`.
        extra: the extra of this package that installs it.

    Returns:
        The module.

    Raises:
        InputError: when it is not installed.

    Example:
        >>> require("json", "Reading JSON").loads("1")
        1

    Source: ours.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs {module}, which is not installed; install it with: "
            f'pip install "keras-espmedsam[{extra}]"'
        ) from error
