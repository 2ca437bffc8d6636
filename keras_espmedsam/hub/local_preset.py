"""Download a preset as a whole, so that it is checked like a folder before it is loaded.

keras-hub itself downloads file by file while it loads. The libraries and the caches used here are
the same as keras-hub's.
"""

import fnmatch
import os
import pathlib
import re
import time
from typing import Any

from keras_espmedsam._files import atomic_path
from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError

# The files that are loaded or listed in the checksums.
_FILES = ("*.json", "SHA256SUMS", "README.md")
_WEIGHTS = ("*.h5",)
# Shorter downloads show no progress bar.
_SECONDS = 1


def local_preset(path: str, load_weights: bool = True) -> str:
    """Return the folder of a preset, and download it if an address is given.

    Args:
        path: a folder, which is returned as it is, or an address: `hf://org/name`,
            `kaggle://org/model/keras/variant`, `modelscope://org/name`, or one that TensorFlow
            can read, such as `gs://bucket/folder`.
        load_weights: bool. Whether weights are needed; some hubs always download them.

    Returns:
        str. The folder; for an address, the one in keras-hub's cache.

    Raises:
        InputError: when the download fails, the library for it is missing, or there is no preset
            at the address.

    Example:
        >>> local_preset("presets/eye")
        'presets/eye'
    """
    scheme, separator, handle = path.partition("://")
    if not separator:
        return path
    try:
        patterns = (*_FILES, *_WEIGHTS) if load_weights else _FILES
        download = _DOWNLOADS.get(scheme.lower())
        folder = _by_tensorflow(path, patterns) if download is None else download(handle, patterns)
    except (InputError, MemoryError):
        raise
    # Each library has its own errors for the network, the hub and the disk.
    except Exception as error:
        raise InputError(
            f"The preset {shown(path)} cannot be downloaded ({type(error).__name__}: "
            f"{shown(' '.join(str(error).split()), 300)}). Check the address, the connection and "
            "whether you may read it, or download it yourself and give the folder."
        ) from error
    if not os.path.exists(os.path.join(folder, "config.json")):
        raise InputError(
            f"There is no config.json at {shown(path)}, so it is not a preset; give the address of "
            "a preset written by save_to_preset."
        )
    return os.fspath(folder)


def needs_tensorflow(path: str) -> bool:
    """Return whether only TensorFlow can read an address.

    Example:
        >>> needs_tensorflow("gs://bucket/eye"), needs_tensorflow("hf://lab/eye")
        (True, False)
    """
    scheme, separator, _ = path.partition("://")
    return bool(separator) and scheme.lower() not in _DOWNLOADS


def _from_hugging_face(handle: str, patterns: tuple[str, ...]) -> str:
    try:
        import huggingface_hub
    except ImportError as error:
        raise _missing("huggingface-hub", "hf", error) from error

    bar: Any = huggingface_hub.utils.tqdm  # type: ignore[attr-defined]

    class LateBar(bar):
        """A progress bar that stays hidden while files are only looked up in the cache."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{"delay": _SECONDS, **options})

        def display(self, *args: Any, **options: Any) -> Any:
            if time.time() - self.start_t >= _SECONDS:
                return super().display(*args, **options)

    return huggingface_hub.snapshot_download(
        handle, allow_patterns=list(patterns), tqdm_class=LateBar
    )


def _from_kaggle(handle: str, patterns: tuple[str, ...]) -> str:
    try:
        import kagglehub
    except ImportError as error:
        raise _missing("kagglehub", "kaggle", error) from error
    if len(handle.split("/")) not in (4, 5):
        raise InputError(
            f"Received the address kaggle://{shown(handle)}; expected "
            "kaggle://ORG/MODEL/keras/VARIANT, or the same with /VERSION at the end."
        )
    return kagglehub.model_download(handle)  # Downloads all files.


def _from_modelscope(handle: str, patterns: tuple[str, ...]) -> str:
    try:
        from modelscope.hub.snapshot_download import snapshot_download
    except ImportError as error:
        raise _missing("modelscope", "modelscope", error) from error
    return snapshot_download(handle)  # The argument for patterns is named differently by version.


def _by_tensorflow(path: str, patterns: tuple[str, ...]) -> str:
    """Copy a preset from one of TensorFlow's file systems to keras-hub's cache."""
    schemes = "hf://, kaggle:// and modelscope://"
    try:
        import tensorflow as tf
    except ImportError as error:
        raise InputError(
            f"Received the address {shown(path)}; expected one with {schemes}. Others, such as "
            "gs://, need TensorFlow, which cannot be imported."
        ) from error
    known = [one for one in tf.io.gfile.get_registered_schemes() if one]
    if path.partition("://")[0] not in known:
        raise InputError(
            f"Received the address {shown(path)}; expected one with {schemes}, or one that "
            f"TensorFlow can read here ({', '.join(f'{one}://' for one in sorted(known))})."
        )
    home = pathlib.Path(os.environ.get("KERAS_HOME") or pathlib.Path.home() / ".keras")
    folder = home / "models" / re.sub(r"://|[-/]", "_", path)
    for name in tf.io.gfile.listdir(path):
        wanted = any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
        if not wanted or os.path.basename(name) != name or (folder / name).exists():
            continue
        with atomic_path(folder / name) as temporary:
            tf.io.gfile.copy(f"{path.rstrip('/')}/{name}", str(temporary), overwrite=True)
    return str(folder)


def _missing(library: str, scheme: str, error: ImportError) -> InputError:
    why = "" if isinstance(error, ModuleNotFoundError) else f" ({shown(error, 200)})"
    return InputError(
        f"Presets at {scheme}:// are downloaded with the library {library}, which cannot be "
        f"imported{why}; install it with `pip install {library}`, or give a folder."
    )


_DOWNLOADS = {
    "hf": _from_hugging_face,
    "kaggle": _from_kaggle,
    "modelscope": _from_modelscope,
}
