"""OpenVINO's IR: an .xml and a .bin file, for Intel's processors."""

import dataclasses
import json
import re
from pathlib import Path

from keras_espmedsam._shown import shown
from keras_espmedsam._startup import import_runtime
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import (
    PRECISIONS,
    ExportFormat,
    get_format,
)
from keras_espmedsam.export.formats.refusal import refuse_unknown

# OpenVINO's names of the precisions to compute in.
HINTS = {"float32": "f32", "bfloat16": "bf16"}

# How far to look for the file's first element, and its name.
_START = 2**16
_IR = re.compile(rb"""<net\s[^>]*\bversion=["']1[01]["']""")

# Operators that hold other graphs, which may run endlessly.
_WITH_BODY = ("Loop", "TensorIterator", "If")


class OpenVINO(ExportFormat):
    """An .xml and a .bin file, made from ONNX, which also carries int8; for Intel's processors.

    The description is in the model's runtime information.
    """

    suffix = ".xml"
    other_suffixes = (".bin",)
    runtime = "openvino"
    writers = ("tensorflow", "tf2onnx", "onnx", "onnxruntime", "openvino")
    any_size = True
    open_batch = True
    precisions = PRECISIONS
    computes_in = ("float32", "bfloat16")
    calibrated = True

    def write(self, task, request, path, description, calibration):
        openvino = import_runtime("openvino")

        source = Path(path).with_suffix(".onnx")
        # OpenVINO stores the weights as float16 itself, and the processor chooses how to compute.
        halves = request.precision == "float16"
        through = dataclasses.replace(request, precision="float32") if halves else request
        get_format("onnx").write(task, through, source, description, calibration)
        model = openvino.convert_model(str(source))
        model.set_rt_info(json.dumps(description), ["espmedsam", "description"])
        model.set_rt_info(description["licence"], ["espmedsam", "licence"])
        openvino.save_model(model, str(path), compress_to_fp16=halves)
        source.unlink()

    def check(self, path):
        check_ir(path)
        openvino = import_runtime("openvino")

        refuse_unknown(path, "OpenVINO", _operators(openvino.Core().read_model(str(path))))

    def load(self, path, precision="float32"):
        return OpenVINORuntime(path, precision)


def check_ir(path):
    """Raise for a file that is not an IR: OpenVINO would try its readers of other formats.

    These open further files, and print what they do not understand.

    Args:
        path: the .xml file.

    Raises:
        InputError: for such a file.

    Source: OpenVINO's IR, in the versions that OpenVINO reads.
    """
    with Path(path).open("rb") as file:
        start = file.read(_START).removeprefix(b"\xef\xbb\xbf").lstrip()
    if not (start.startswith(b"<") and _IR.search(start)):
        raise InputError(
            f"{shown(path)} is not an IR of OpenVINO, or is damaged; get it again, or export the "
            "model again."
        )


def _operators(model):
    """Return operator types that are not plain mathematics: control flow and extensions."""
    for one in model.get_ops():
        name = one.get_type_name()
        if name in _WITH_BODY or not one.get_type_info().version_id.startswith("opset"):
            yield name


class OpenVINORuntime:
    """An IR on the CPU.

    Args:
        path: the .xml file.
        precision: `"float32"` or `"bfloat16"`, to compute in.

    Raises:
        InputError: if the processor does not support bfloat16.
    """

    def __init__(self, path, precision="float32"):
        openvino = import_runtime("openvino")

        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in _capabilities(core):
            raise InputError(
                "This processor computes nothing in bfloat16 for OpenVINO, which would use float32 "
                "without saying so; leave the precision out."
            )
        # Always set: by default, OpenVINO uses bfloat16 if the processor supports it.
        self.model = core.compile_model(
            str(path), "CPU", {"INFERENCE_PRECISION_HINT": HINTS[precision]}
        )
        # An output may also have the name of the operation before it.
        self.names = [
            next(name for name in sorted(output.get_names()) if name.isidentifier())
            for output in self.model.outputs
        ]

    def __call__(self, inputs):
        outputs = self.model(dict(inputs))
        found = (outputs[output] for output in self.model.outputs)
        return dict(zip(self.names, found, strict=True))


def _capabilities(core):
    return core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
