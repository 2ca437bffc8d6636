"""Choose the backend, check for optional libraries, and import Keras quietly."""

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

# The backends that this package is tested on, in order of preference, and their modules.
BACKENDS = {"tensorflow": "tensorflow", "jax": "jax", "torch": "torch"}

# TensorFlow's log level for fatal errors only.
_SILENT = "3"

# Bytes of native libraries' output that are kept, to be shown if they end the program.
_LAST_SAID = 1 << 13


def choose_backend() -> str:
    """Choose the Keras backend without importing Keras or any backend.

    The first of these that applies: the backend of an already imported Keras; the environment
    variable `KERAS_BACKEND`; the backend in Keras' own `keras.json`, if it is installed (Keras
    writes "tensorflow" there by itself); the first of TensorFlow, JAX and PyTorch that is
    installed. In the last case, `KERAS_BACKEND` is set so that Keras uses it.

    Returns:
        The backend's name, such as `"jax"`.

    Raises:
        ImportError: when none of the three backends is installed.

    Example:
        >>> choose_backend() in ("tensorflow", "jax", "torch", "openvino")
        True
    """
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "config"):
        return sys.modules["keras"].config.backend()
    if os.environ.get("KERAS_BACKEND"):
        return os.environ["KERAS_BACKEND"]
    configured = _configured_backend()
    if configured and _is_installed(configured):
        return configured
    for name in BACKENDS:
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
    return importlib.util.find_spec(BACKENDS.get(backend, backend)) is not None


def require(module: str, purpose: str, extra: str = "medical") -> ModuleType:
    """Import an optional library when it is first needed.

    Args:
        module: the module to import, such as `"pydicom"`.
        purpose: what needs it, as the beginning of a sentence: `"Reading DICOM files"`.
        extra: this package's extra that installs it.

    Returns:
        The module.

    Raises:
        InputError: when it is not installed.

    Example:
        >>> require("json", "Reading JSON").loads("1")
        1
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise InputError(
            f"{purpose} needs {module}, which is not installed; install it with: "
            f'pip install "keras-espmedsam[{extra}]"'
        ) from error


def import_with_keras(module: str, tell: Callable[[str], None] | None = None) -> ModuleType:
    """Import Keras with the chosen backend, then a module that needs it, quietly and fast.

    Args:
        module: the module to import after Keras, such as `"keras_espmedsam.models"`.
        tell: called with a sentence if this will take seconds.

    Returns:
        The module.

    Raises:
        InputError: when no backend is installed, or the chosen one is not.
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
    """Import TensorFlow quietly, if it is installed."""
    with without_chatter(), contextlib.suppress(ImportError):
        importlib.import_module("tensorflow")


def import_runtime(module: str) -> ModuleType:
    """Import a runtime for exported models, with its telemetry switched off.

    By default, OpenVINO reports imports and conversions, with an identifier that it stores in the
    home folder, to its makers through Google Analytics. If the package `openvino_telemetry` is not
    installed, it uses an empty replacement; hiding that package has the same effect here. ONNX
    Runtime stores an identifier and events too, unless an environment variable forbids it. A
    program that imported OpenVINO earlier, and a user who set `ORT_DISABLE_TELEMETRY`, keep their
    choice.

    Args:
        module: the module to import, such as `"onnxruntime"`, or one that imports either.

    Returns:
        The module.

    Raises:
        ImportError: when it is not installed.
    """
    # Read when the first session is created; disable_telemetry_events() is too late for the
    # identifier.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    modules: dict[str, Any] = sys.modules
    hidden = "openvino" not in modules and "openvino_telemetry" not in modules
    if hidden:
        modules["openvino_telemetry"] = None  # None makes the import fail.
    try:
        return importlib.import_module(module)
    finally:
        if hidden:
            del modules["openvino_telemetry"]


def without_chatter() -> contextlib.AbstractContextManager:
    """Return a context without output on stderr, unless the user asked for TensorFlow's log."""
    # A user who sets TensorFlow's log level wants to read its log.
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") in (None, _SILENT)
    silence_backends()
    return stderr_discarded() if quiet else contextlib.nullcontext()


def silence_backends() -> None:
    """Silence the logs of the backends, without changing the user's settings."""
    # TensorFlow's C++ part reads these when it is imported, so they must be set before.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    for name in ("tensorflow", "absl", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def no_collection() -> Iterator[None]:
    """Pause garbage collection, because imports and models create no garbage."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def tensorflow_hidden() -> Iterator[None]:
    """Make imports of TensorFlow fail, unless it is Keras' backend or already imported.

    keras-hub imports it if it is installed, which takes seconds, for preprocessing in tf.data that
    no command uses and for addresses such as gs://. The same applies to TensorFlow's text
    operations. After the block, imports succeed again.
    """
    hidden = {"tensorflow", "tensorflow_text"}.difference(sys.modules)
    if choose_backend() == "tensorflow":
        hidden.discard("tensorflow")
    modules: dict[str, Any] = sys.modules
    modules.update(dict.fromkeys(hidden))  # None makes the import fail.
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def stderr_discarded() -> Iterator[None]:
    """Discard output to file descriptor 2, unless the program ends inside the block.

    TensorFlow 2.21 prints before it reads TF_CPP_MIN_LOG_LEVEL, so nothing else stops it. Failures
    inside the block raise exceptions, whose text is not lost. But a native library may end the
    program, for example on a processor that it was not built for; then its output is shown on
    stderr after all.
    """
    try:
        saved = os.dup(2)
    except OSError:  # A program without stderr.
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
    """Yield a file descriptor that discards output, or shows it if the program ends early."""
    if not hasattr(os, "fork"):  # Windows
        with open(os.devnull, "wb") as nowhere:
            yield nowhere.fileno()
        return
    said, sink = os.pipe()
    watch, alive = os.pipe()
    # Locks of other threads stay held in a fork; this one only reads and writes, and needs none.
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
        with contextlib.suppress(OSError):  # Another part of the program has reaped it already.
            os.waitpid(watcher, 0)


def _watch(said: int, watch: int, stderr: int) -> None:
    """Keep the program's last output, in a separate process that outlives it."""
    # Ctrl-C, and a signal to the whole group, reach the program too; this process ends after it.
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    last = b""
    handles = [said, watch]
    while handles:
        ready, _, _ = select.select(handles, [], [])
        if said in ready:  # First, before checking how the program ended.
            text = os.read(said, 1 << 16)
            last = (last + text)[-_LAST_SAID:]
            if not text:
                handles.remove(said)
        else:
            # A program that reaches the end of the block writes a byte; a dead one does not.
            if not os.read(watch, 1):
                os.write(stderr, last + b"error: The program was ended while it started.\n")
            return


def first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, for a message.

    Example:
        >>> first_line(OSError("No such file.\\nAnd a long story."))
        'No such file'
    """
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
