"""OpenVINO's IR: an .xml and a .bin file, for Intel's processors."""

import dataclasses
import json
from pathlib import Path

from keras_espmedsam._startup import import_openvino
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import (
    PRECISIONS,
    ExportFormat,
    get_format,
)
from keras_espmedsam.export.formats.refusal import refuse_unknown

# OpenVINO's words for what is computed in.
HINTS = {"float32": "f32", "bfloat16": "bf16"}

# Operators that hold other graphs, which may run without end.
_WITH_BODY = ("Loop", "TensorIterator", "If")


class OpenVINO(ExportFormat):
    """An .xml and a .bin file, by way of ONNX, which carries int8 too; for Intel's processors.

    The description is in the model's runtime information.

    Source: ours.
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
        openvino = import_openvino()

        source = Path(path).with_suffix(".onnx")
        # OpenVINO keeps the weights as float16 itself, and computes as the processor likes.
        halves = request.precision == "float16"
        through = dataclasses.replace(request, precision="float32") if halves else request
        get_format("onnx").write(task, through, source, description, calibration)
        model = openvino.convert_model(str(source))
        model.set_rt_info(json.dumps(description), ["espmedsam", "description"])
        model.set_rt_info(description["licence"], ["espmedsam", "licence"])
        openvino.save_model(model, str(path), compress_to_fp16=halves)
        source.unlink()

    def check(self, path):
        openvino = import_openvino()

        refuse_unknown(path, "OpenVINO", _operators(openvino.Core().read_model(str(path))))

    def load(self, path, precision="float32"):
        return OpenVINORuntime(path, precision)


def _operators(model):
    """Types of operators that are no plain mathematics: control flow, and those of extensions."""
    for one in model.get_ops():
        name = one.get_type_name()
        if name in _WITH_BODY or not one.get_type_info().version_id.startswith("opset"):
            yield name


class OpenVINORuntime:
    """An IR on the CPU.

    Args:
        path: the .xml file.
        precision: `"float32"` or `"bfloat16"`, what is computed in.

    Raises:
        InputError: where the processor has no units for bfloat16.

    Source: ours.
    """

    def __init__(self, path, precision="float32"):
        openvino = import_openvino()

        core = openvino.Core()
        if precision == "bfloat16" and "BF16" not in _capabilities(core):
            raise InputError(
                "This processor computes nothing in bfloat16 for OpenVINO, which would use float32 "
                "and not say so; leave the precision out."
            )
        # Always said: unasked, OpenVINO takes bfloat16 wherever the processor has it.
        self.model = core.compile_model(
            str(path), "CPU", {"INFERENCE_PRECISION_HINT": HINTS[precision]}
        )
        # An output may bear the name of the operation before it as well.
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
