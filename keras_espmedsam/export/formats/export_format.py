"""The formats that can be written, and what each of them can hold."""

import dataclasses
import importlib.util

from keras_espmedsam.errors import InputError, did_you_mean

PRECISIONS = ("float32", "float16", "int8")
EXTRA = 'pip install "keras-espmedsam[export]"'


@dataclasses.dataclass(frozen=True)
class Format:
    """One format.

    Args:
        name: str. As `--format` takes it.
        suffix: str. How its file's name ends; empty for a folder.
        runtime: str. The module that runs it.
        writers: tuple of str. The modules that write it.
        any_size: bool. Whether it can leave height and width open.
        free_batch: bool. Whether it can leave the batch size open.
        precisions: tuple of str.
        calibrated: bool. Whether int8 has ranges that are chosen by real images.

    Source: ours.
    """

    name: str
    suffix: str
    runtime: str
    writers: tuple
    any_size: bool
    free_batch: bool
    precisions: tuple
    calibrated: bool = False


# SavedModel keeps a graph's variables as they are, and TensorFlow's CPU kernels know no float16.
FORMATS = {
    one.name: one
    for one in (
        Format("saved_model", "", "tensorflow", ("tensorflow",), True, True, ("float32",)),
        Format("tflite", ".tflite", "ai_edge_litert", ("tensorflow",), False, False, PRECISIONS),
        Format(
            "onnx",
            ".onnx",
            "onnxruntime",
            ("tensorflow", "tf2onnx", "onnx", "onnxruntime"),
            True,
            True,
            PRECISIONS,
            calibrated=True,
        ),
        Format(
            "openvino",
            ".xml",
            "openvino",
            ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "openvino"),
            True,
            True,
            PRECISIONS,
            calibrated=True,
        ),
    )
}


def get_format(name):
    """A format by name.

    Raises:
        InputError: for an unknown name.

    Example:
        >>> get_format("tflite").suffix
        '.tflite'

    Source: ours.
    """
    if name not in FORMATS:
        raise InputError(
            f"Received the format {name!r}; expected one of {', '.join(FORMATS)}"
            f"{did_you_mean(name, FORMATS)}"
        )
    return FORMATS[name]


def check_installed(chosen):
    """Say what to install before any work is done.

    Args:
        chosen: `Format`.

    Raises:
        InputError: when a library that writes or runs the format is missing.

    Source: ours.
    """
    missing = [
        module
        for module in dict.fromkeys((*chosen.writers, chosen.runtime))
        if importlib.util.find_spec(module) is None
    ]
    if missing:
        raise InputError(
            f"Exporting to {chosen.name} needs {', '.join(missing)}, which is not installed; "
            f"install it with: {EXTRA}"
        )
