"""ONNX: one file, for ONNX Runtime and most other runtimes."""

import json
from pathlib import Path

import numpy as np

from keras_espmedsam._startup import import_runtime
from keras_espmedsam.export.formats.export_format import PRECISIONS, ExportFormat

# Nodes that hold the weights; those of the controllers are gathered by modality.
QUANTIZED = ("Conv", "MatMul", "Gather")


class ONNX(ExportFormat):
    """One file, converted by tf2onnx; the description is in its metadata.

    Keras' own ONNX exports are compared in docs/reports/onnx_exporters.md.
    """

    suffix = ".onnx"
    runtime = "onnxruntime"
    writers = ("tensorflow", "tf2onnx", "onnx", "onnxruntime")
    any_size = True
    open_batch = True
    precisions = PRECISIONS
    calibrated = True

    def write(self, task, request, path, description, calibration):
        import onnx

        from keras_espmedsam.export.onnx_graph import to_onnx
        from keras_espmedsam.export.tensorflow_graph import make_function

        function, signature = make_function(task, request)
        model = to_onnx(function, signature, task.variables)
        _drop_whole_slices(model)
        if request.precision == "float16":
            model = _to_float16(model)
        elif request.precision == "int8":
            model = _to_int8(model, path, calibration)
        entries = {"espmedsam": json.dumps(description), "licence": description["licence"]}
        onnx.helper.set_model_props(model, entries)
        onnx.save(model, str(path))

    def check(self, path):
        from keras_espmedsam.export.formats.onnx_operators import check_onnx

        check_onnx(path)

    def load(self, path):
        return ONNXRuntime(path)


def _drop_whole_slices(model):
    """Remove the axes that a slice leaves whole from the slice.

    tf2onnx slices them from 0 to the largest int32. With an open batch, OpenVINO takes that for the
    batch's size and rejects the model. Constants that become unused are removed too.
    """
    from onnx import numpy_helper

    constants = {one.name: one for one in model.graph.initializer}
    for i, node in enumerate(model.graph.node):
        if node.op_type != "Slice" or not all(name in constants for name in node.input[1:]):
            continue
        values = [numpy_helper.to_array(constants[name]) for name in node.input[1:]]
        starts, ends, *rest = values
        steps = rest[1] if len(rest) > 1 else np.ones_like(starts)
        kept = (starts != 0) | (ends < np.iinfo("int32").max) | (steps != 1)
        if not rest or kept.all() or not kept.any():
            continue
        for j, value in enumerate(values):
            name = f"slice_{i}_{j}"
            model.graph.initializer.append(numpy_helper.from_array(value[kept], name))
            node.input[1 + j] = name
    # ONNX Runtime warns about each unused one.
    read = {*_read(model.graph), *(output.name for output in model.graph.output)}
    for name in constants.keys() - read:
        model.graph.initializer.remove(constants[name])


def _read(graph):
    """Return names of all values that nodes of a graph, and of graphs inside them, read."""
    for node in graph.node:
        yield from node.input
        for attribute in node.attribute:
            yield from _read(attribute.g)
            for inner in attribute.graphs:
                yield from _read(inner)


def _to_float16(model):
    float16 = import_runtime("onnxruntime.transformers.float16")
    return float16.convert_float_to_float16(model, keep_io_types=True)


def _to_int8(model, path, calibration):
    """Quantise by way of files at `path`, which ONNX Runtime's quantisation needs."""
    import onnx

    quantization = import_runtime("onnxruntime.quantization")

    class Reader(quantization.CalibrationDataReader):
        def __init__(self):
            self.samples = iter(calibration)

        def get_next(self):
            return next(self.samples, None)

    onnx.save(model, str(path))
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
    return onnx.load(str(path))


# ONNX Runtime's log level for errors that end the process.
_FATAL = 4


class ONNXRuntime:
    """An ONNX file in ONNX Runtime, on the CPU."""

    def __init__(self, path):
        onnxruntime = import_runtime("onnxruntime")
        options = onnxruntime.SessionOptions()
        # Otherwise its own log appears on the terminal, next to the sentence made from its error.
        options.log_severity_level = _FATAL
        # Its fallback provider is the same one, and it would print that it falls back.
        self.session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        self.names = [output.name for output in self.session.get_outputs()]
        self.options = onnxruntime.RunOptions()
        self.options.log_severity_level = _FATAL

    def __call__(self, inputs):
        inputs = {name: np.asarray(value) for name, value in inputs.items()}
        outputs = self.session.run(self.names, inputs, self.options)
        return dict(zip(self.names, outputs, strict=True))

    def stop(self):
        """End running calls, from another thread, and all later ones."""
        self.options.terminate = True
