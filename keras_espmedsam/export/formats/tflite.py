"""TFLite (LiteRT): one file of built-in operators, for phones and small computers."""

import json
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from keras_espmedsam.errors import InputError
from keras_espmedsam.export.formats.export_format import PRECISIONS, ExportFormat


class TFLite(ExportFormat):
    """One file of built-in operators alone; the description is an associated file within it.

    It is converted with operators that LiteRT does not have where a size is open. In int8 the
    weights are integers, and what they are multiplied by is quantised as it comes. With ranges
    chosen beforehand, the masks of TiC's windows (-1e30) would share 256 steps with the attention
    that they mask, and the segmenter is slower on a CPU and farther from the Keras model.

    Source: ours.
    """

    suffix = ".tflite"
    runtime = "ai_edge_litert"
    writers = ("tensorflow",)
    precisions = PRECISIONS

    def write(self, task, request, path, description, calibration):
        import tensorflow as tf

        from keras_espmedsam.export.tensorflow_graph import SIGNATURE, write_saved_model

        with tempfile.TemporaryDirectory() as folder:
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
        # As an associated file of the TFLite metadata convention: a ZIP archive at the file's end.
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr("espmedsam.json", json.dumps(description, indent=1))

    def load(self, path):
        return TFLiteRuntime(path)


def operators(path):
    """The operators that a TFLite file uses, by name; `custom NAME` for one that is not built in.

    Source: ours, by LiteRT's schema.
    """
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    model = schema.Model.GetRootAs(Path(path).read_bytes(), 0)
    found = set()
    for i in range(model.OperatorCodesLength()):
        operator = model.OperatorCodes(i)
        # Files from before there were more than 127 of them have the older field alone.
        code = max(operator.BuiltinCode(), operator.DeprecatedBuiltinCode())
        custom = code == schema.BuiltinOperator.CUSTOM
        found.add(f"custom {operator.CustomCode().decode()}" if custom else names[code])
    return sorted(found)


class TFLiteRuntime:
    """A TFLite file in LiteRT's interpreter.

    Source: ours.
    """

    def __init__(self, path):
        from ai_edge_litert.interpreter import Interpreter

        self.interpreter = Interpreter(str(path))
        self.runner = self.interpreter.get_signature_runner()

    def __call__(self, inputs):
        return self.runner(**{name: np.asarray(value) for name, value in inputs.items()})
