"""Images of an archive, one after another: what is done, passed over, and failed."""

import shutil

import pytest

from keras_espmedsam.archive import FileSegmenter, Instance, segment_archive
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import DicomOptions
from tests.dicom.images import MODEL, dicom_image

pydicom = pytest.importorskip("pydicom")


class Folder:
    """An archive in a folder."""

    def __init__(self, folder):
        self.folder, self.fetched, self.refuses = folder, [], ()
        folder.mkdir()

    def add(self, path):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        shutil.copy(path, self.folder / header.SOPInstanceUID)
        return header.SOPInstanceUID

    def find(self, study=None):
        headers = [
            pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(self.folder.iterdir())
        ]
        return [
            Instance(one.StudyInstanceUID, one.SeriesInstanceUID, one.SOPInstanceUID, one.Modality)
            for one in headers
            if study in (None, one.StudyInstanceUID)
        ]

    def fetch(self, instance, path):
        self.fetched.append(instance.uid)
        shutil.copy(self.folder / instance.uid, path)

    def store(self, paths):
        for path in paths:
            uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
            if uid in self.refuses:
                raise InputError("The archive answered 507 when it was asked to store; full.")
            shutil.copy(path, self.folder / uid)


@pytest.fixture
def archive(tmp_path):
    found = Folder(tmp_path / "archive")
    for kind in ("ultrasound", "ultrasound clip"):
        found.add(dicom_image(tmp_path / "image.dcm", kind))
    return found


def states(archive, segmenter, **options):
    found = list(segment_archive(archive, archive.find(), segmenter, **options))
    return [one.state for one in found], found


def test_nothing_is_stored_twice(archive, segmenter, bright):
    first, outcomes = states(archive, segmenter, store=True)
    assert first == ["done", "done"] and [one.stored for one in outcomes] == [2, 2]
    assert sorted(one.modality for one in archive.find()) == ["SEG", "SEG", "SR", "SR", "US", "US"]
    asked, fetched = bright.asked, len(archive.fetched)
    assert (asked, fetched) == (4, 2)  # The clip has three frames.
    assert states(archive, segmenter, store=True)[0] == ["there", "there"]
    assert (bright.asked, len(archive.fetched)) == (asked, fetched)
    # Without a given modality it is not known in advance, and every one is looked for.
    any_modality = FileSegmenter(bright, None, None, segmenter.dicom)
    assert states(archive, any_modality, store=True)[0] == ["there", "there"]
    # A report that is missing, and probabilities, are results of their own.
    report = next(one for one in archive.find() if one.modality == "SR")
    (archive.folder / report.uid).unlink()
    assert sorted(states(archive, segmenter, store=True)[0]) == ["done", "there"]


def test_one_bad_image_does_not_end_the_others(archive, segmenter, tmp_path):
    path = dicom_image(tmp_path / "cut.dcm", "fundus")
    path.write_bytes(path.read_bytes()[:-100])
    bad = archive.add(path)
    found, outcomes = states(archive, segmenter, store=True)
    assert sorted(found) == ["done", "done", "failed"]
    (failed,) = (one for one in outcomes if one.error)
    assert failed.instance.uid == bad
    assert str(failed.error).startswith(bad) and "/" not in str(failed.error)
    assert "lanted" not in str(failed.error)


def test_what_is_refused_is_tried_again_the_next_time(archive, segmenter):
    states(archive, segmenter, store=True)
    stored = [one.uid for one in archive.find() if one.modality == "SEG"]
    (archive.folder / stored[0]).unlink()
    archive.refuses = stored
    assert sorted(states(archive, segmenter, store=True)[0]) == ["failed", "there"]
    archive.refuses = ()
    assert sorted(states(archive, segmenter, store=True)[0]) == ["done", "there"]


def test_a_folder_keeps_results_named_by_uid(archive, segmenter, tmp_path):
    output = tmp_path / "out"
    _, outcomes = states(archive, segmenter, output=output)
    uid = outcomes[0].instance.uid
    names = {path.name for path in output.iterdir()}
    assert {f"{uid}_mask.png", f"{uid}_seg.dcm", f"{uid}_sr.dcm"} <= names
    assert set(outcomes[0].written) <= set(output.iterdir())
    assert states(archive, segmenter, output=output)[0] == ["there", "there"]
    assert states(archive, segmenter, output=output, overwrite=True)[0] == ["done", "done"]
    # It is in the folder, but not in the archive.
    assert states(archive, segmenter, output=output, store=True)[0] == ["done", "done"]


def test_wrong_use(archive, bright, segmenter):
    with pytest.raises(InputError, match="give --output or --store"):
        list(segment_archive(archive, [], segmenter))
    with pytest.raises(InputError, match="without DICOM options"):
        list(segment_archive(archive, [], FileSegmenter(bright, None, "fundus"), store=True))
    probabilities = FileSegmenter(bright, None, "fundus", DicomOptions(MODEL, probabilities=True))
    found, outcomes = states(archive, probabilities, store=True)
    assert found == ["failed", "failed"]
    assert "gave no probabilities" in str(outcomes[0].error)
