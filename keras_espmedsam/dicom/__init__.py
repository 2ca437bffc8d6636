"""DICOM objects of results: segmentations and reports of measurements.

Unlike every other output they hold the identity of the patient and the study, which DICOM demands.
Nothing here opens a connection.
"""

from keras_espmedsam.dicom.model_identity import ModelIdentity
from keras_espmedsam.dicom.report import dicom_report
from keras_espmedsam.dicom.segment_codes import SegmentCode, segment_code
from keras_espmedsam.dicom.segmentation import dicom_segmentation
from keras_espmedsam.dicom.source_image import read_source
from keras_espmedsam.dicom.write_object import write_dicom_object

__all__ = [
    "ModelIdentity",
    "SegmentCode",
    "dicom_report",
    "dicom_segmentation",
    "read_source",
    "segment_code",
    "write_dicom_object",
]
