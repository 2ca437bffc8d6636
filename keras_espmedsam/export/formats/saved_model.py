"""TensorFlow's SavedModel: a folder, for TensorFlow Serving and what reads it."""

import json
from pathlib import Path


def write_saved_model(task, request, path, description, calibration=None):
    """Write the folder; `calibration` has no use here.

    Args:
        task: the segmenter or classifier, on Keras' TensorFlow backend.
        request: `ExportRequest`.
        path: the folder to write.
        description: dict, which goes into `assets.extra`, a folder that TensorFlow leaves alone.
        calibration: not used.

    Source: Keras' `ExportArchive`.
    """
    from keras_espmedsam.export import tensorflow_graph

    tensorflow_graph.write_saved_model(task, request, path)
    folder = Path(path) / "assets.extra"
    folder.mkdir(exist_ok=True)
    text = json.dumps(description, indent=1) + "\n"
    (folder / "espmedsam.json").write_text(text, encoding="utf-8")


class SavedModelRuntime:
    """A SavedModel's signature in TensorFlow.

    Source: ours.
    """

    def __init__(self, path):
        import tensorflow as tf

        self.model = tf.saved_model.load(str(path))
        self.signature = self.model.signatures["serving_default"]

    def __call__(self, inputs):
        import tensorflow as tf

        outputs = self.signature(**{name: tf.constant(value) for name, value in inputs.items()})
        return {name: value.numpy() for name, value in outputs.items()}
