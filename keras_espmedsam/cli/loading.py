"""Importing Keras and loading a model, late and quietly."""

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
from keras_espmedsam.export.formats import format_of
from keras_espmedsam.inference import load_models
from keras_espmedsam.inference.load_models import check_name as check_preset

DEFAULT_PRESET = "espmedsam_nano_256"

TRUST_OPTION = typer.Option(
    "--trust",
    help="Run an exported model as a program: whatever it does, however long, in any memory.",
)
"""The option that `segment` and `evaluate` share."""

# TensorFlow traces a model for as long as it needs for some ten images one operation at a time.
_TOO_FEW_TO_TRACE = 8


def import_models() -> Any:
    """Import Keras and our models; see `keras_espmedsam._startup.import_with_keras`.

    Source: ours.
    """
    console = stderr()
    # Not a moving status: it would be discarded with the rest.
    tell = console.print if console.is_terminal else None
    return import_with_keras("keras_espmedsam.models", tell)


def import_segmenter_class() -> Any:
    """Import Keras with the chosen backend, then our segmenter class; see `import_models`.

    Source: ours.
    """
    return import_models().ESPMedSAMImageSegmenter


def load_segmenter(preset: str, precision: str | None = None, trust: bool = False) -> Any:
    """Load a segmenter from a preset, or one that was exported.

    Args:
        preset: a built-in name, a folder, an `hf://` or `kaggle://` address, or the path of an
            artefact of `espmedsam export`.
        precision: what it computes in, `"float32"` or `"bfloat16"`; `None` is float32, unless
            Keras' own configuration says another.
        trust: whether an artefact may do more than compute; see `ExportedSegmenter`.

    Returns:
        An `ESPMedSAMImageSegmenter`, or an `ExportedSegmenter`.

    Raises:
        InputError: when there is no such preset, it cannot be loaded, or it cannot compute in
            the precision.

    Source: ours.
    """
    return _load(load_models.load_segmenter, preset, precision, trust)


def load_recognizer(preset: str) -> Any:
    """Load a classifier of modalities from a preset; arguments and errors as `load_segmenter`.

    Returns:
        A `TiCImageClassifier`.

    Source: ours.
    """
    return _load(load_models.load_recognizer, preset)


def load_task(preset: str) -> Any:
    """Load whatever a preset holds; arguments and errors as `load_segmenter`.

    Returns:
        An `ESPMedSAMImageSegmenter` or a `TiCImageClassifier`.

    Source: ours.
    """
    return _load(load_models.load_task, preset)


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


@contextlib.contextmanager
def compile_notice(model: Any, tell: Callable[[str], None]) -> Iterator[CompileNotice]:
    """Say that a model is being compiled, if its first results take more than five seconds.

    Args:
        model: as `load_segmenter` gives it, after `prepare_for`.
        tell: called with a sentence, from another thread.

    Yields:
        What is told of the first results, by its `end`.

    Source: ours.
    """
    notice = CompileNotice(tell)
    if not getattr(model, "run_eagerly", True):  # An artefact is compiled already.
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
    # keras-hub and OpenVINO import it wherever it is, and need it for addresses alone.
    hidden = contextlib.nullcontext() if "://" in preset else tensorflow_hidden()
    with stderr().status(f"Loading {preset}"), hidden, no_collection():
        return load(preset, **options)
