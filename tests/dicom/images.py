"""Headers of the kinds of images that archives hold, written as files with random pixels."""

import numpy as np
import pytest

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("highdicom", reason="needs the extra dicom")

from pydicom.dataset import FileMetaDataset  # noqa: E402
from pydicom.uid import ExplicitVRLittleEndian  # noqa: E402

from keras_espmedsam.data.images import inspect_image_file  # noqa: E402
from keras_espmedsam.dicom import ModelIdentity  # noqa: E402
from keras_espmedsam.inference import FileResult  # noqa: E402

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# Modality code, SOP class, frames, channels.
KINDS = {
    "radiograph": ("CR", f"{_STORAGE}1", 1, 1),
    "digital radiograph": ("DX", f"{_STORAGE}1.1", 1, 1),
    "ultrasound": ("US", f"{_STORAGE}6.1", 1, 3),
    "ultrasound clip": ("US", f"{_STORAGE}3.1", 3, 1),
    "fundus": ("OP", f"{_STORAGE}77.1.5.1", 1, 3),
    "photograph": ("XC", f"{_STORAGE}77.1.4", 1, 3),
    "dermoscopy": ("DMS", f"{_STORAGE}77.1.7", 1, 3),
    "endoscopy": ("ES", f"{_STORAGE}77.1.1", 1, 3),
    "endoscopy clip": ("ES", f"{_STORAGE}77.1.1.1", 2, 3),
    "secondary capture": ("OT", f"{_STORAGE}7", 1, 3),
    "slice": ("CT", f"{_STORAGE}2", 1, 1),
}
SIZE = (7, 9)  # Their product is no multiple of 8: frames of a bit per pixel end within a byte.
MODEL = ModelIdentity("espmedsam_nano_256", "2", "0123456789abcdef" * 4, "threshold=0.5", "0.2.0")


def dicom_image(path, kind, **elements):
    """Write an image of one of `KINDS`; other elements are added, or removed if None."""
    modality, sop_class, frames, channels = KINDS[kind]
    number = list(KINDS).index(kind) + 1
    image = pydicom.Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID = sop_class
    uid = f"1.2.826.0.1.3680043.8.498.{number}"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID = f"{uid}.3"
    image.StudyInstanceUID, image.SeriesInstanceUID = f"{uid}.1", f"{uid}.2"
    image.Modality, image.PatientName, image.PatientID = modality, "Planted^Name", "planted-4711"
    image.PatientBirthDate, image.PatientSex = "19500101", "F"
    image.StudyDate, image.StudyTime, image.StudyID = "20260102", "030405", "7"
    image.AccessionNumber, image.InstanceNumber, image.SeriesNumber = "A1", 4, 2
    image.Rows, image.Columns, image.SamplesPerPixel = *SIZE, channels
    image.BitsAllocated = image.BitsStored = 8
    image.HighBit, image.PixelRepresentation = 7, 0
    image.PhotometricInterpretation = "RGB" if channels == 3 else "MONOCHROME2"
    if channels == 3:
        image.PlanarConfiguration = 0
    if frames > 1:
        image.NumberOfFrames = frames
    if kind == "slice":
        image.FrameOfReferenceUID = f"{uid}.4"
        image.ImagePositionPatient = [0, 0, 5]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.PixelSpacing, image.SliceThickness = [0.5, 0.25], 1
    shape = (frames, *SIZE, channels)
    pixels = np.random.default_rng(number).integers(0, 256, shape, "uint8").tobytes()
    image.PixelData = pixels + b"\0" * (len(pixels) % 2)
    for name, value in elements.items():
        if value is None:
            delattr(image, name)
        else:
            setattr(image, name, value)
    image.save_as(path, enforce_file_format=True)
    return path


def results_of(path, targets=("vessels", "optic_cup"), modality="fundus"):
    """What `segment_files` gives: random masks of all frames, of which one is empty."""
    file = inspect_image_file(path)
    draw = np.random.default_rng(0)
    for image in file.images():
        probabilities = draw.random((*file.size, len(targets)), np.float32)
        if image.count > 1 and image.index == 0:
            probabilities[..., -1] = 0  # The first mask of the last target is empty.
        yield FileResult(
            *(path, image.index, file.count, probabilities > 0.4, probabilities, modality),
            **{"image": image, "file": file, "targets": targets, "known_targets": targets},
        )
