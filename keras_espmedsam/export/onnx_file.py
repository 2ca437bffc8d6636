"""ONNX: one file, for ONNX Runtime and most other runtimes."""

import json
import logging
import os
from pathlib import Path

import numpy as np

# The latest that tf2onnx 1.17 writes.
OPSET = 18
# What holds the weights.
QUANTIZED = ("Conv", "MatMul")


def write_onnx(task, request, path, description, calibration=None):
    """Convert with tf2onnx; then, if asked for, make the weights smaller.

    Args:
        task: the segmenter or classifier, on Keras' TensorFlow backend.
        request: `ExportRequest`.
        path: the file to write.
        description: dict, which goes into the file's metadata.
        calibration: list of dicts of inputs, one sample each, for int8.

    Source: ours. The backends' own ONNX exports: Keras' on TensorFlow is tf2onnx too, PyTorch's
    cannot leave the size open, JAX has none.
    """
    import tensorflow as tf
    import tf2onnx

    from keras_espmedsam.export.tensorflow_graph import make_function

    function, signature = make_function(task, request)
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    # Without it tf2onnx copies the whole graph before each of its passes.
    os.environ.setdefault("TF2ONNX_CATCH_ERRORS", "FALSE")
    tf2onnx.convert.from_function(
        tf.function(function, input_signature=signature),
        input_signature=signature,
        opset=OPSET,
        output_path=str(path),
    )
    if request.precision == "float16":
        _to_float16(path)
    elif request.precision == "int8":
        _to_int8(path, calibration)
    _describe(path, description)


def _to_float16(path):
    import onnx
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = onnx.load(str(path))
    onnx.save(convert_float_to_float16(model, keep_io_types=True), str(path))


def _to_int8(path, calibration):
    from onnxruntime import quantization

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.samples = iter(calibration)

        def get_next(self):
            return next(self.samples, None)

    source = Path(path).with_suffix(".float32.onnx")
    quantization.shape_inference.quant_pre_process(str(path), str(source), skip_symbolic_shape=True)
    quantization.quantize_static(
        str(source),
        str(path),
        Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        op_types_to_quantize=list(QUANTIZED),
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )
    source.unlink()


def _describe(path, description):
    import onnx

    model = onnx.load(str(path))
    entries = {"espmedsam": json.dumps(description), "licence": description["licence"]}
    onnx.helper.set_model_props(model, entries)
    onnx.save(model, str(path))


class ONNXRuntime:
    """An ONNX file in ONNX Runtime, on the CPU.

    Source: ours.
    """

    def __init__(self, path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, inputs):
        inputs = {name: np.asarray(value) for name, value in inputs.items()}
        return dict(zip(self.names, self.session.run(self.names, inputs), strict=True))
