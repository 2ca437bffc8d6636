"""A round trip through a real Orthanc with its DICOMweb plugin."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.archive import DicomWebArchive, segment_archive
from tests.dicom.images import dicom_image

pydicom = pytest.importorskip("pydicom")
pytest.importorskip("dicomweb_client", reason="needs the extra dicom")

_SCRIPT = Path(__file__).resolve().parents[2] / "examples/dicom_round_trip.py"
_SPEC = importlib.util.spec_from_file_location("dicom_round_trip", _SCRIPT)
round_trip = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(round_trip)


def test_there_and_back(tmp_path, segmenter, bright):
    if round_trip.find_orthanc() is None:
        pytest.skip("Orthanc and its DICOMweb plugin are not installed (orthanc-dicomweb)")
    images = [
        dicom_image(tmp_path / f"{i}.dcm", kind)
        for i, kind in enumerate(("ultrasound clip", "endoscopy", "radiograph"))
    ]
    damaged = pydicom.dcmread(images[2])
    damaged.PixelData = damaged.PixelData[:20]  # Well-formed, but shorter than its image.
    damaged.save_as(images[2])
    studies = [pydicom.dcmread(path).StudyInstanceUID for path in images]
    (tmp_path / "orthanc").mkdir()
    with round_trip.orthanc(tmp_path / "orthanc") as url:
        archive = DicomWebArchive(url)
        archive.store(images)
        found = [one for study in studies for one in archive.find(study)]
        assert [one.modality for one in found] == ["US", "ES", "CR"]
        assert [one.uid for one in archive.find(query={"PatientID": "planted-4711"})]
        assert archive.find(studies[0], query={"Modality": "CR"}) == []
        outcomes = list(segment_archive(archive, found, segmenter, tmp_path / "out", store=True))
        assert [(one.state, one.stored) for one in outcomes] == [
            *(("done", 2), ("done", 2), ("failed", 0)),
        ]
        assert str(outcomes[2].error).startswith(found[2].uid)
        # What comes back is what was written, and the mask of what was sent.
        segmentation = next(one for one in archive.find(studies[0]) if one.modality == "SEG")
        archive.fetch(segmentation, tmp_path / "back.dcm")
        back = pydicom.dcmread(tmp_path / "back.dcm")
        np.testing.assert_array_equal(
            back.pixel_array, pydicom.dcmread(images[0]).pixel_array > 100
        )
        assert back.PatientID == "planted-4711"
        asked = bright.asked
        again = list(segment_archive(archive, found[:2], segmenter, store=True))
        assert [one.state for one in again] == ["there", "there"] and bright.asked == asked
        assert sorted(one.modality for one in archive.find(studies[0])) == ["SEG", "SR", "US"]
