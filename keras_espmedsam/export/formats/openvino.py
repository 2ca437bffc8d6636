"""OpenVINO's IR: an .xml and a .bin file, for Intel's processors."""

import dataclasses
import json
from pathlib import Path

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import (
    PRECISIONS,
    ExportFormat,
    get_format,
)

# OpenVINO's words for what is computed in.
HINTS = {"float32": "f32", "bfloat16": "bf16"}


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
        import openvino

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

    def load(self, path, precision="float32"):
        return OpenVINORuntime(path, precision)


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
        import openvino

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
