"""TFLite (LiteRT): one file of built-in operators, for phones and small computers."""

import json
import math
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from keras_espmedsam._shown import shown
from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import PRECISIONS, ExportFormat
from keras_espmedsam.export.formats.refusal import refuse_unknown


class TFLite(ExportFormat):
    """One file of only built-in operators; the description is an associated file inside it.

    With an open size, conversion would need operators that LiteRT does not have. In int8 the
    weights are integers, and activations are quantised dynamically. With ranges chosen beforehand,
    the masks of TiC's windows (-1e30) would share 256 steps with the attention that they mask, and
    the segmenter is slower on a CPU and farther from the Keras model.
    """

    suffix = ".tflite"
    runtime = "ai_edge_litert"
    writers = ("tensorflow",)
    precisions = PRECISIONS

    def write(self, task, request, path, description, calibration):
        import tensorflow as tf

        from keras_espmedsam.export.tensorflow_graph import SIGNATURE, write_saved_model

        # Next to the file, so that what a killed export leaves is removed with its folder.
        with tempfile.TemporaryDirectory(dir=Path(path).parent) as folder:
            write_saved_model(task, request, folder)
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
            if request.precision != "float32":
                converter.optimizations = [tf.lite.Optimize.DEFAULT]
            if request.precision == "float16":
                converter.target_spec.supported_types = [tf.float16]
            Path(path).write_bytes(converter.convert())
        foreign = [name for name in operators(path) if name.startswith("custom ")]
        if foreign:
            raise InputError(
                f"The TFLite file needs operators that are not built in: {', '.join(foreign)}; no "
                "phone could run it. Nothing was kept."
            )
        # As an associated file, by the TFLite metadata convention: a ZIP archive at the file's end.
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("espmedsam.json", json.dumps(description, indent=1))

    def check(self, path):
        check_tflite(path)

    def load(self, path):
        return TFLiteRuntime(path)


# Rejected like custom ones: operators that hold graphs, or state beyond a call.
_NO_MATHEMATICS = (
    "custom ", "WHILE", "IF", "CALL", "DELEGATE", "VAR_HANDLE", "READ_VARIABLE",
    "ASSIGN_VARIABLE", "HASHTABLE", "STABLEHLO_", "PLACEHOLDER",
)  # fmt: skip
_MAX_TENSOR_BYTES = 2**34
_IDENTIFIER = b"TFL3"


def check_tflite(path):
    """Raise for operators that are not mathematics, and for a file that points outside itself.

    LiteRT trusts what a file says about its parts; a damaged one would end the process.

    Args:
        path: the file.

    Raises:
        InputError: for these; a damaged file raises the schema reader's own error.

    Source: LiteRT's schema.
    """
    from ai_edge_litert import schema_py_generated as schema

    content = Path(path).read_bytes()
    if content[4:8] != _IDENTIFIER:
        raise InputError(f"{shown(path)} is not a TFLite file, or is damaged.")
    unfit = [name for name in operators(path) if name.startswith(_NO_MATHEMATICS)]
    refuse_unknown(path, "TFLite", unfit)
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.BuffersLength()):
        _check_buffer(path, model.Buffers(i), len(content))
    for i in range(model.SubgraphsLength()):
        _check_tensors(path, model, model.Subgraphs(i))


def _check_buffer(path, buffer, size):
    length = buffer.DataLength()
    if length:
        buffer.Data(length - 1)  # Raises beyond the end of the file.
    if buffer.Offset() > 1 and buffer.Offset() + buffer.Size() > size:
        raise _damaged(path)


def _check_tensors(path, model, graph):
    count, total = graph.TensorsLength(), 0
    for i in range(count):
        tensor = graph.Tensors(i)
        shape = [tensor.Shape(j) for j in range(tensor.ShapeLength())]
        total += math.prod(max(side, 1) for side in shape)
        if not 0 <= tensor.Buffer() < model.BuffersLength() or min(shape, default=1) < 0:
            raise _damaged(path)
    if total > _MAX_TENSOR_BYTES:
        raise InputError(
            f"The TFLite artefact {shown(path)} has tensors of {total:.1e} numbers, more than any "
            "model of this package. If you trust who made it, run it with --trust on the command "
            "line, or trust=True in Python."
        )
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        if not 0 <= operator.OpcodeIndex() < model.OperatorCodesLength():
            raise _damaged(path)
        for length, one in (
            (operator.InputsLength(), operator.Inputs),
            (operator.OutputsLength(), operator.Outputs),
        ):
            # -1 is an omitted input.
            if any(not -1 <= one(j) < count for j in range(length)):
                raise _damaged(path)


def _damaged(path):
    return InputError(f"The TFLite artefact {shown(path)} is damaged; get or export it again.")


def operators(path):
    """Return names of the operators in a TFLite file; `custom NAME` if not built in.

    Source: LiteRT's schema.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    model = schema.Model.GetRootAs(Path(path).read_bytes(), 0)
    found = set()
    for i in range(model.OperatorCodesLength()):
        operator = model.OperatorCodes(i)
        # Files from before there were more than 127 operators have only the older field.
        code = max(operator.BuiltinCode(), operator.DeprecatedBuiltinCode())
        custom = code == schema.BuiltinOperator.CUSTOM
        found.add(f"custom {operator.CustomCode().decode()}" if custom else names[code])
    return sorted(found)


class TFLiteRuntime:
    """A TFLite file in LiteRT's interpreter."""

    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path))
        self.runner = self.interpreter.get_signature_runner()

    def __call__(self, inputs):
        return self.runner(**{name: np.asarray(value) for name, value in inputs.items()})
