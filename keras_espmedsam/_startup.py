"""What is settled before Keras is imported, backend and extras; and importing it quietly."""

import contextlib
import gc
import importlib
import importlib.util
import json
import logging
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from keras_espmedsam.errors import InputError

# The backends this package is tested on, in order of preference, and the module of each.
_MODULES = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}

# TensorFlow's log level of nothing but fatal errors.
_SILENT = "3"

# Bytes that are kept of what native libraries print, to be shown if they end the program.
_LAST_SAID = 1 << 13


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


def import_with_keras(module: str, tell: Callable[[str], None] | None = None) -> ModuleType:
    """Import Keras with the chosen backend, then what needs it; quietly, and as fast as it can be.

    Args:
        module: what is imported after Keras, such as `"keras_espmedsam.models"`.
        tell: called with a sentence when that will take seconds.

    Returns:
        The module.

    Raises:
        InputError: when no backend is installed, or not the chosen one.

    Source: ours.
    """
    silent = without_chatter()
    try:
        backend = choose_backend()
    except ImportError as error:
        raise InputError(str(error)) from error
    if tell is not None and "keras" not in sys.modules:
        tell(f"Starting Keras on {backend}")
    try:
        with silent, no_collection():
            importlib.import_module("keras")
            with tensorflow_hidden():
                return importlib.import_module(module)
    except (ImportError, ValueError) as error:
        raise InputError(
            f"Keras cannot be started on the backend {backend} (from KERAS_BACKEND or keras.json): "
            f"{first_line(error)}. Install that backend or choose another with KERAS_BACKEND."
        ) from error


def import_tensorflow() -> None:
    """Import TensorFlow as quietly as `import_with_keras` does Keras; nothing where there is none.

    Source: ours.
    """
    with without_chatter(), contextlib.suppress(ImportError):
        importlib.import_module("tensorflow")


def import_openvino() -> ModuleType:
    """Import OpenVINO, which then tells nobody that it is used.

    By itself it sends what is imported and converted, and a number that it keeps in the home
    folder, to its makers by way of Google Analytics, unless its user has forbidden it. Where the
    package `openvino_telemetry` is not installed it takes an empty one of its own in its place; so
    it does here. A program that imported OpenVINO before has decided for itself.

    Returns:
        The module.

    Raises:
        ImportError: when it is not installed.

    Source: ours.
    """
    modules: dict[str, Any] = sys.modules
    hidden = "openvino" not in modules and "openvino_telemetry" not in modules
    if hidden:
        modules["openvino_telemetry"] = None  # A module that cannot be imported.
    try:
        return importlib.import_module("openvino")
    finally:
        if hidden:
            del modules["openvino_telemetry"]


def without_chatter() -> contextlib.AbstractContextManager:
    """Meanwhile nothing reaches the terminal, unless the user asked for TensorFlow's log."""
    # Who sets TensorFlow's log level wants to read its log.
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") in (None, _SILENT)
    silence_backends()
    return stderr_discarded() if quiet else contextlib.nullcontext()


def silence_backends() -> None:
    """Keep the chatter of the backends off the terminal; what the user set is left alone."""
    # TensorFlow's C++ part reads these when it is imported, hence not later than here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in ("tensorflow", "absl", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Meanwhile Python looks for no garbage, of which imports and models make none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def tensorflow_hidden() -> Iterator[None]:
    """Meanwhile an import of TensorFlow fails, unless it is Keras' backend or imported already.

    keras-hub imports it wherever it is installed, which takes seconds: for preprocessing in
    tf.data that no command uses, and for addresses such as gs://. So does it with TensorFlow's
    text operations. Later imports succeed.
    """
    hidden = {"tensorflow", "tensorflow_text"}.difference(sys.modules)
    if choose_backend() == "tensorflow":
        hidden.discard("tensorflow")
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))  # None is a module that cannot be imported.
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def stderr_discarded() -> Iterator[None]:
    """Discard what is written to file descriptor 2 meanwhile, unless the program ends in it.

    TensorFlow 2.21 prints before it reads TF_CPP_MIN_LOG_LEVEL, so nothing else stops it. What
    fails in the meantime fails with an exception, whose text is not lost. But a native library
    may end the program, such as for a processor that it was not built for: then what it said is
    on stderr after all.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a program without stderr
        yield
        return
    try:
        with _kept_if_killed(saved) as sink:
            os.dup2(sink, 2)
            try:
                yield
            finally:
                sys.stderr.flush()
                os.dup2(saved, 2)
    finally:
        os.close(saved)


@contextlib.contextmanager
def _kept_if_killed(stderr: int) -> Iterator[int]:
    """A file descriptor that discards, but for a program that does not come to the block's end."""
    if not hasattr(os, "fork"):  # Windows
        with open(os.devnull, "wb") as nowhere:
            yield nowhere.fileno()
        return
    said, sink = os.pipe()
    watch, alive = os.pipe()
    # Other threads may hold locks, which stay held in a fork: it reads and writes and needs none.
    watcher = os.fork()
    if not watcher:
        try:
            os.close(sink)
            os.close(alive)
            _watch(said, watch, stderr)
        finally:
            os._exit(0)
    os.close(said)
    os.close(watch)
    try:
        yield sink
    finally:
        os.close(sink)
        with contextlib.suppress(OSError):
            os.write(alive, b"!")
        os.close(alive)
        with contextlib.suppress(OSError):  # Another part of the program has waited for all.
            os.waitpid(watcher, 0)


def _watch(said: int, watch: int, stderr: int) -> None:
    """In a process of its own, which outlives the program: keep what it said last."""
    # Ctrl-C, and a signal to the whole group, reach the program too; this ends after it.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    last = b""
    handles = [said, watch]
    while handles:
        ready, _, _ = select.select(handles, [], [])
        if said in ready:  # Before it is asked how the program ended.
            text = os.read(said, 1 << 16)
            last = (last + text)[-_LAST_SAID:]
            if not text:
                handles.remove(said)
        else:
            # One that came to the end of the block says so; a dead one says nothing.
            if not os.read(watch, 1):
                os.write(stderr, last + b"error: The program was ended while it started.\n")
            return


def first_line(error: BaseException) -> str:
    """The beginning of an exception's text, for a sentence about it.

    Example:
        >>> first_line(OSError("No such file.\\nAnd a long story."))
        'No such file'

    Source: ours.
    """
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
