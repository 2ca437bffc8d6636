"""Export models to other runtimes: SavedModel, TFLite, ONNX, OpenVINO, Triton and bioimage.io.

The parts are loaded on first use, so that formats are listed and recognised without Keras.
"""

import importlib
from typing import TYPE_CHECKING

from keras_espmedsam._renamed import old_attribute

if TYPE_CHECKING:
    from keras_espmedsam.export._export_like_keras import export_like_keras as export_like_keras
    from keras_espmedsam.export._export_model import export_model as export_model
    from keras_espmedsam.export.bioimageio import export_bioimageio as export_bioimageio
    from keras_espmedsam.export.exported_segmenter import ExportedSegmenter as ExportedSegmenter
    from keras_espmedsam.export.formats import ExportFormat as ExportFormat
    from keras_espmedsam.export.formats import get_format as get_format
    from keras_espmedsam.export.triton import export_triton as export_triton

_PLACES = {
    "ExportFormat": "formats",
    "ExportedSegmenter": "exported_segmenter",
    "FORMATS": "formats",
    "export_bioimageio": "bioimageio",
    "export_like_keras": "_export_like_keras",
    "export_model": "_export_model",
    "export_triton": "triton",
    "get_format": "formats",
}

__all__ = [
    "ExportFormat",
    "ExportedSegmenter",
    "export_bioimageio",
    "export_like_keras",
    "export_model",
    "export_triton",
    "get_format",
]


# Hidden from type checkers, so that they still report unknown names.
if not TYPE_CHECKING:

    def __getattr__(name):
        if name in _PLACES:
            return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
        return old_attribute(__name__, name)


def __dir__():
    return sorted(__all__)
