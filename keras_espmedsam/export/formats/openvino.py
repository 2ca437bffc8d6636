"""OpenVINO's IR: an .xml and a .bin file, for Intel's processors."""

import dataclasses
import json
from pathlib import Path

from keras_espmedsam.export.formats.onnx import write_onnx


def write_openvino(task, request, path, description, calibration=None):
    """Convert by way of ONNX, which carries int8 too.

    Args:
        task: the segmenter or classifier, on Keras' TensorFlow backend.
        request: `ExportRequest`.
        path: the .xml file to write; the .bin lies beside it.
        description: dict, which goes into the model's runtime information.
        calibration: list of dicts of inputs, one sample each, for int8.

    Source: ours.
    """
    import openvino

    source = Path(path).with_suffix(".onnx")
    # OpenVINO keeps the weights as float16 itself, and computes as the processor likes.
    halves = request.precision == "float16"
    through = dataclasses.replace(request, precision="float32") if halves else request
    write_onnx(task, through, source, description, calibration)
    model = openvino.convert_model(str(source))
    model.set_rt_info(json.dumps(description), ["espmedsam", "description"])
    model.set_rt_info(description["licence"], ["espmedsam", "licence"])
    openvino.save_model(model, str(path), compress_to_fp16=halves)
    source.unlink()


class OpenVINORuntime:
    """An IR on the CPU, computed in float32.

    Source: ours.
    """

    def __init__(self, path):
        import openvino

        hint = {"INFERENCE_PRECISION_HINT": "f32"}
        self.model = openvino.compile_model(str(path), "CPU", hint)
        # An output may bear the name of the operation before it as well.
        self.names = [
            next(name for name in sorted(output.get_names()) if name.isidentifier())
            for output in self.model.outputs
        ]

    def __call__(self, inputs):
        outputs = self.model(dict(inputs))
        found = (outputs[output] for output in self.model.outputs)
        return dict(zip(self.names, found, strict=True))
