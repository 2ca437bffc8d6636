"""Models as artefacts of other runtimes: SavedModel, TFLite, ONNX and OpenVINO.

The parts are loaded when first used, so that formats are listed and recognised without Keras.
"""

import importlib

from keras_espmedsam._renamed import old_attribute

_PLACES = {
    "ExportFormat": "formats",
    "ExportedSegmenter": "exported_segmenter",
    "FORMATS": "formats",
    "export_like_keras": "_export_like_keras",
    "export_model": "_export_model",
    "get_format": "formats",
}

__all__ = ["ExportFormat", "ExportedSegmenter", "export_like_keras", "export_model", "get_format"]


def __getattr__(name):
    if name in _PLACES:
        return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
    return old_attribute(__name__, name)


def __dir__():
    return sorted(__all__)
