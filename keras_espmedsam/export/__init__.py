"""Models as artefacts of other runtimes: SavedModel, TFLite, ONNX and OpenVINO."""

from keras_espmedsam.export.export_model import export_task
from keras_espmedsam.export.exported_segmenter import ExportedSegmenter
from keras_espmedsam.export.formats.export_format import FORMATS

__all__ = ["export_task", "ExportedSegmenter", "FORMATS"]
