"""Segment arrays and files. Importing this package does not import Keras."""

from keras_espmedsam.inference.dicom_files import DicomOptions
from keras_espmedsam.inference.file_result import FileResult
from keras_espmedsam.inference.input_files import expand_inputs
from keras_espmedsam.inference.model_identity import model_identity
from keras_espmedsam.inference.result_writer import ResultWriter
from keras_espmedsam.inference.segment_files import segment_files

__all__ = [
    "DicomOptions",
    "FileResult",
    "ResultWriter",
    "expand_inputs",
    "model_identity",
    "segment_files",
]
