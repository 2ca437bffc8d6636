"""Importing Keras and loading a preset, late and quietly."""

import contextlib
import gc
import importlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_espmedsam._startup import choose_backend
from keras_espmedsam.cli.console import stderr
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats import format_of
from keras_espmedsam.hub.built_in_presets import resolve_preset
from keras_espmedsam.inference.load_models import is_artefact
from keras_espmedsam.inference.recognition import AUTO

DEFAULT_PRESET = "espmedsam_nano_256"

# TensorFlow's log level of nothing but fatal errors.
_SILENT = "3"

# TensorFlow traces a model for as long as it needs for some ten images one operation at a time.
_TOO_FEW_TO_TRACE = 8


def import_models() -> Any:
    """Import Keras with the chosen backend, then our models.

    Returns:
        The module `keras_espmedsam.models`.

    Raises:
        InputError: when no backend is installed, or not the chosen one.

    Source: ours.
    """
    silent = _without_chatter()
    try:
        backend = choose_backend()
    except ImportError as error:
        raise InputError(str(error)) from error
    console = stderr()
    # Not a moving status: it would be discarded with the rest.
    if console.is_terminal and "keras" not in sys.modules:
        console.print(f"Starting Keras on {backend}")
    try:
        with silent, _no_collection():
            importlib.import_module("keras")
            with _tensorflow_hidden():
                return importlib.import_module("keras_espmedsam.models")
    except (ImportError, ValueError) as error:
        raise InputError(
            f"Keras cannot be started on the backend {backend} (from KERAS_BACKEND or keras.json): "
            f"{_first_line(error)}. Install that backend or choose another with KERAS_BACKEND."
        ) from error


def import_segmenter_class() -> Any:
    """Import Keras with the chosen backend, then our segmenter class; see `import_models`.

    Source: ours.
    """
    return import_models().ESPMedSAMImageSegmenter


def load_segmenter(preset: str) -> Any:
    """Load a segmenter from a preset, or one that was exported.

    Args:
        preset: a built-in name, a folder, an `hf://` or `kaggle://` address, or the path of an
            artefact of `espmedsam export`.

    Returns:
        An `ESPMedSAMImageSegmenter`, or an `ExportedSegmenter`.

    Raises:
        InputError: when there is no such preset, or it cannot be loaded.

    Source: ours.
    """
    if not is_artefact(preset):
        return _load("ESPMedSAMImageSegmenter", preset)
    import_models()
    if format_of(preset).runtime == "tensorflow":
        import_tensorflow()
    # OpenVINO imports it too, wherever it is.
    with _tensorflow_hidden():
        return importlib.import_module("keras_espmedsam.export").ExportedSegmenter(preset)


def import_tensorflow() -> None:
    """Import TensorFlow as quietly as `import_models` does Keras; nothing where there is none.

    Source: ours.
    """
    with _without_chatter(), contextlib.suppress(ImportError):
        importlib.import_module("tensorflow")


def load_recognizer(preset: str) -> Any:
    """Load a classifier of modalities from a preset; arguments and errors as `load_segmenter`.

    Returns:
        A `TiCImageClassifier`.

    Source: ours.
    """
    return _load("TiCImageClassifier", preset)


def prepare_for(count: int, *models: Any) -> None:
    """Choose how models are run, by how many images are to come.

    Args:
        count: the number of images.
        *models: as `load_segmenter` and `load_recognizer` give them.

    Source: ours.
    """
    if choose_backend() == "tensorflow" and count <= _TOO_FEW_TO_TRACE:
        for model in models:
            model.run_eagerly = True


def check_preset(preset: str) -> None:
    """Check a preset's name, before the seconds that Keras takes to start.

    Args:
        preset: a built-in name, a folder, or an `hf://` or `kaggle://` address.

    Raises:
        InputError: when there is no such preset.
    """
    if not is_artefact(preset):
        resolve_preset(preset)


def load_task(preset: str) -> Any:
    """Load whatever a preset holds; arguments and errors as `load_segmenter`.

    Returns:
        An `ESPMedSAMImageSegmenter` or a `TiCImageClassifier`.

    Source: ours.
    """
    path = resolve_preset(preset)
    task = Path(path) / "task.json"
    is_classifier = task.is_file() and "TiCImageClassifier" in task.read_text(encoding="utf-8")
    return load_recognizer(preset) if is_classifier else load_segmenter(preset)


def _load(class_name: str, preset: str) -> Any:
    path = resolve_preset(preset)  # A wrong name is told before Keras starts.
    model_class = getattr(import_models(), class_name)
    hidden = contextlib.nullcontext() if "://" in path else _tensorflow_hidden()
    try:
        with stderr().status(f"Loading {preset}"), hidden, _no_collection():
            return model_class.from_preset(preset)
    except InputError:
        raise
    # A damaged folder or a failed download raises nearly anything.
    except Exception as error:
        raise InputError(
            f"The preset {preset} cannot be loaded ({type(error).__name__}: {_first_line(error)}). "
            "See `espmedsam presets` for the built-in ones."
        ) from error


def check_modality(modality: str, segmenter: Any) -> None:
    """Check that a segmenter knows a modality.

    Args:
        modality: the name.
        segmenter: a loaded segmenter.

    Raises:
        InputError: when it does not; the sentence lists those it knows.
    """
    known = tuple(segmenter.modalities)
    if modality not in known:
        raise InputError(
            f"Received the modality {modality!r}; expected {AUTO}, or one of this preset's: "
            f"{', '.join(known)}."
        )


def _without_chatter() -> contextlib.AbstractContextManager:
    # Who sets TensorFlow's log level wants to read its log.
    quiet = os.environ.get("TF_CPP_MIN_LOG_LEVEL") in (None, _SILENT)
    silence_backends()
    return _stderr_discarded() if quiet else contextlib.nullcontext()


def silence_backends() -> None:
    """Keep the chatter of the backends off the terminal; what the user set is left alone."""
    # TensorFlow's C++ part reads these when it is imported, hence not later than here.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", _SILENT)
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # JAX compiles for many seconds; kept on disk, only the first run of a preset waits for it.
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "keras-espmedsam" / "jax"))
    # A model is many small compilations besides the large one.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    for name in ("tensorflow", "absl", "jax"):
        logging.getLogger(name).setLevel(logging.ERROR)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


@contextlib.contextmanager
def _no_collection() -> Iterator[None]:
    """Meanwhile Python looks for no garbage, of which imports and models make none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _tensorflow_hidden() -> Iterator[None]:
    """Meanwhile an import of TensorFlow fails, unless it is Keras' backend or imported already.

    keras-hub imports it wherever it is installed, which takes seconds: for preprocessing in
    tf.data that no command uses, and for addresses such as gs://. So does it with TensorFlow's
    text operations. Later imports succeed.
    """
    hidden = {"tensorflow", "tensorflow_text"}.difference(sys.modules)
    if choose_backend() == "tensorflow":
        hidden.discard("tensorflow")
    sys.modules.update(dict.fromkeys(hidden))  # None is a module that cannot be imported.
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _stderr_discarded() -> Iterator[None]:
    """Discard what is written to file descriptor 2 meanwhile.

    TensorFlow 2.21 prints before it reads TF_CPP_MIN_LOG_LEVEL, so nothing else stops it. What
    fails in the meantime fails with an exception, whose text is not lost.
    """
    try:
        saved = os.dup(2)
    except OSError:  # a program without stderr
        yield
        return
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(saved, 2)
        os.close(saved)


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else "no reason given"
