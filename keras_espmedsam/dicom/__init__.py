"""DICOM objects of results: segmentations and reports of measurements.

Unlike every other output they hold the identity of the patient and the study, which DICOM demands.
Nothing here opens a connection.
"""

from keras_espmedsam.dicom.model_identity import ModelIdentity
from keras_espmedsam.dicom.report import dicom_report, report_uid
from keras_espmedsam.dicom.segment_codes import Code, SegmentCode, segment_code
from keras_espmedsam.dicom.segmentation import dicom_segmentation, segmentation_uid
from keras_espmedsam.dicom.source_image import read_source
from keras_espmedsam.dicom.write_object import write_dicom_object

__all__ = [
    "Code",
    "ModelIdentity",
    "SegmentCode",
    "dicom_report",
    "dicom_segmentation",
    "read_source",
    "report_uid",
    "segment_code",
    "segmentation_uid",
    "write_dicom_object",
]
