"""Formats that a model is exported to, as `--format` and `export_for` name them.

An entry is a class derived from `keras_espmedsam.export.formats.ExportFormat`.
"""

from keras_espmedsam.registries.registry import Registry

_PACKAGE = "keras_espmedsam.export.formats"

export_formats = Registry(
    "export_formats",
    "format",
    {
        "saved_model": f"{_PACKAGE}.saved_model:SavedModel",
        "tflite": f"{_PACKAGE}.tflite:TFLite",
        "onnx": f"{_PACKAGE}.onnx:ONNX",
        "openvino": f"{_PACKAGE}.openvino:OpenVINO",
        "web": f"{_PACKAGE}.web:Web",
    },
)
