"""Import Keras and load a model, late and quietly."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import typer

from keras_espmedsam._compile_notice import CompileNotice
from keras_espmedsam._startup import (
    choose_backend,
    import_tensorflow,
    import_with_keras,
    no_collection,
    tensorflow_hidden,
)
from keras_espmedsam.cli.console import stderr
from keras_espmedsam.cli.interruption import check_interrupted
from keras_espmedsam.export.formats import format_of
from keras_espmedsam.hub.local_preset import needs_tensorflow
from keras_espmedsam.inference import load_models
from keras_espmedsam.inference.load_models import check_name as check_preset

DEFAULT_PRESET = "espmedsam_nano_256"

TRUST_OPTION = typer.Option(
    "--trust",
    help="Run an exported model without checks: it may do anything, for any time, in any memory. "
    "Only for files you trust.",
)
"""An option of `segment` and `evaluate`."""

# Tracing a model takes TensorFlow as long as about ten images in eager mode.
_TOO_FEW_TO_TRACE = 8


def import_models() -> Any:
    """Import Keras and our models; see `keras_espmedsam._startup.import_with_keras`."""
    console = stderr()
    # Not a spinner: output is discarded during the import, and the spinner with it.
    tell = console.print if console.is_terminal else None
    models = import_with_keras("keras_espmedsam.models", tell)
    check_interrupted()
    return models


def import_segmenter_class() -> Any:
    """Import Keras with the chosen backend, then the segmenter class; see `import_models`."""
    return import_models().ESPMedSAMImageSegmenter


def load_segmenter(preset: str, precision: str | None = None, trust: bool = False) -> Any:
    """Load a segmenter from a preset or from an exported model.

    Args:
        preset: a built-in name, a folder, an `hf://` or `kaggle://` address, or the path of a
            model from `espmedsam export`.
        precision: the data type to compute in, `"float32"` or `"bfloat16"`; `None` is Keras' own
            setting, float32 unless you changed it.
        trust: whether an exported model may do more than compute; see `ExportedSegmenter`.

    Returns:
        An `ESPMedSAMImageSegmenter`, or an `ExportedSegmenter`.

    Raises:
        InputError: when there is no such preset, or it cannot be loaded or compute in the
            precision.
    """
    return _load(load_models.load_segmenter, preset, precision, trust)


def load_recognizer(preset: str) -> Any:
    """Load a modality classifier from a preset; arguments and errors as for `load_segmenter`.

    Returns:
        A `TiCImageClassifier`.
    """
    return _load(load_models.load_recognizer, preset)


def load_task(preset: str) -> Any:
    """Load the model of a preset, whichever it is; arguments and errors as for `load_segmenter`.

    Returns:
        An `ESPMedSAMImageSegmenter` or a `TiCImageClassifier`.
    """
    return _load(load_models.load_task, preset)


def prepare_for(count: int, *models: Any) -> None:
    """Run models eagerly if there are too few images for compilation to pay off.

    Args:
        count: the number of images.
        *models: the models from `load_segmenter` and `load_recognizer`.
    """
    if choose_backend() == "tensorflow" and count <= _TOO_FEW_TO_TRACE:
        for model in models:
            model.run_eagerly = True


@contextlib.contextmanager
def compile_notice(model: Any, tell: Callable[[str], None]) -> Iterator[CompileNotice]:
    """Say that a model is being compiled, if its first results take more than five seconds.

    Args:
        model: the model from `load_segmenter`, after `prepare_for`.
        tell: called with a sentence, from another thread.

    Yields:
        The notice; call its `end` when the first results arrive.
    """
    notice = CompileNotice(tell)
    if not getattr(model, "run_eagerly", True):  # An exported model is compiled already.
        notice.begin("the model for the first images", "the next ones are quick")
    try:
        yield notice
    finally:
        notice.end()


def _load(
    load: Callable[..., Any], preset: str, precision: str | None = None, trust: bool = False
) -> Any:
    options: dict[str, Any] = {} if precision is None else {"precision": precision}
    check_preset(preset, **options)  # Before Keras starts.
    if trust:
        options["trust"] = True
    import_models()
    format = format_of(preset)
    if format is not None and format.runtime == "tensorflow":
        import_tensorflow()
    # keras-hub and OpenVINO import TensorFlow if it is installed, but few presets need it.
    hidden = contextlib.nullcontext() if needs_tensorflow(preset) else tensorflow_hidden()
    with stderr().status(f"Loading {preset}"), hidden, no_collection():
        return load(preset, **options)
