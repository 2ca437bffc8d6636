"""Segment what DICOM archives hold, over DICOMweb, and what arrives in a folder."""

from keras_espmedsam.archive.dicomweb import DicomWebArchive, Instance
from keras_espmedsam.archive.segment_archive import Outcome, segment_archive
from keras_espmedsam.archive.segment_file import FileSegmenter
from keras_espmedsam.archive.watch_folder import Arrival, watch_folder

__all__ = [
    "Arrival",
    "DicomWebArchive",
    "FileSegmenter",
    "Instance",
    "Outcome",
    "segment_archive",
    "watch_folder",
]
