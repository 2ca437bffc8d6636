"""TensorFlow's SavedModel: a folder, for TensorFlow Serving and other readers."""

import json
from pathlib import Path

from keras_espmedsam.export.formats.export_format import ExportFormat


class SavedModel(ExportFormat):
    """A folder; the description lies in its `assets.extra`, which TensorFlow ignores.

    It stores a graph's variables unchanged, and TensorFlow's CPU kernels do not support float16.

    Source: Keras' `ExportArchive`.
    """

    marker = "saved_model.pb"
    runtime = "tensorflow"
    writers = ("tensorflow",)
    any_size = True
    open_batch = True
    keeps_quantized_layers = True

    def write(self, task, request, path, description, calibration):
        from keras_espmedsam.export.tensorflow_graph import write_saved_model

        write_saved_model(task, request, path)
        folder = Path(path) / "assets.extra"
        folder.mkdir(exist_ok=True)
        text = json.dumps(description, indent=1) + "\n"
        (folder / "espmedsam.json").write_text(text, encoding="utf-8")

    def check(self, path):
        from keras_espmedsam.export.formats.saved_model_operators import check_saved_model

        check_saved_model(path)

    def load(self, path):
        return SavedModelRuntime(path)


class SavedModelRuntime:
    """A SavedModel's signature in TensorFlow."""

    def __init__(self, path):
        import tensorflow as tf

        self.model = tf.saved_model.load(str(path))
        self.signature = self.model.signatures["serving_default"]

    def __call__(self, inputs):
        import tensorflow as tf

        outputs = self.signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}
