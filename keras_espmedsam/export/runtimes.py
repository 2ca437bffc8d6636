"""What runs an artefact of each format."""

from keras_espmedsam.export.formats.onnx import ONNXRuntime, write_onnx
from keras_espmedsam.export.formats.openvino import OpenVINORuntime, write_openvino
from keras_espmedsam.export.formats.saved_model import SavedModelRuntime, write_saved_model
from keras_espmedsam.export.formats.tflite import TFLiteRuntime, write_tflite

WRITERS = {
    "saved_model": write_saved_model,
    "tflite": write_tflite,
    "onnx": write_onnx,
    "openvino": write_openvino,
}
RUNTIMES = {
    "saved_model": SavedModelRuntime,
    "tflite": TFLiteRuntime,
    "onnx": ONNXRuntime,
    "openvino": OpenVINORuntime,
}
