"""Segmentations are read back pixel for pixel, by highdicom and by pydicom alone."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from keras_espmedsam.dicom import dicom_segmentation, read_source, write_dicom_object
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import DicomOptions, FileResult, ResultWriter
from tests.dicom.images import KINDS, MODEL, SIZE, dicom_image, results_of

hd = pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")
TARGETS = ("vessels", "optic_cup")


def conforms(path):
    """No error of the validator of dicom3tools."""
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (of the package dicom3tools) is not installed")
    done = subprocess.run(["dciodvfy", "-new", str(path)], capture_output=True, text=True)
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith("Error")] == []


def written(path, folder, **options):
    """The objects of a file, as a command writes them, and the masks and probabilities."""
    results = list(results_of(path))
    writer = ResultWriter(folder, path, dicom=DicomOptions(MODEL, **options))
    writer.check([results[0].file])
    paths = [one for result in results for one in writer.write(result)]
    masks = np.stack([result.mask for result in results])
    probabilities = np.stack([result.probabilities for result in results])
    return [one for one in paths if one.suffix == ".dcm"], masks, probabilities


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image(image, tmp_path, kind):
    path = image(kind)
    (place,), masks, _ = written(path, tmp_path / "out")
    assert place == tmp_path / "out/image_seg.dcm"
    source, found = pydicom.dcmread(path), pydicom.dcmread(place)
    frames = len(masks)
    assert found.NumberOfFrames == 2 * frames
    stored = found.pixel_array.reshape(2, frames, *SIZE)
    np.testing.assert_array_equal(stored, np.moveaxis(masks, 3, 0))
    # highdicom looks frames up by the image's own number of each.
    read = hd.seg.segread(place)
    if frames > 1:
        numbers = list(range(1, frames + 1))
        pixels = read.get_pixels_by_source_frame(source.SOPInstanceUID, numbers)
    else:
        pixels = read.get_pixels_by_source_instance([source.SOPInstanceUID])
    np.testing.assert_array_equal(pixels, masks)
    # The standard copies patient and study, and has a Frame of Reference only with a position.
    for name in ("PatientName", "PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate"):
        assert found[name].value == source[name].value
    assert found.SeriesInstanceUID != source.SeriesInstanceUID
    assert ("FrameOfReferenceUID" in found) == (kind == "slice")
    assert found.SegmentsOverlap == "YES"
    vessels, cup = found.SegmentSequence
    assert vessels.SegmentedPropertyTypeCodeSequence[0].CodeValue == "59820001"
    assert vessels.SegmentLabel == "vessels" and vessels.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = vessels.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("espmedsam_nano_256", "2")
    assert cup.SegmentLabel == "optic cup"
    assert conforms(place)


@pytest.mark.parametrize("kind", ["radiograph", "ultrasound clip"])
def test_probabilities(image, tmp_path, kind):
    (place,), _, probabilities = written(image(kind), tmp_path / "out", probabilities=True)
    found = pydicom.dcmread(place)
    assert (found.SegmentationType, found.MaximumFractionalValue) == ("FRACTIONAL", 255)
    stored = found.pixel_array.reshape(2, len(probabilities), *SIZE) / 255
    # Half a step, and the rounding to 16 bits.
    np.testing.assert_allclose(stored, np.moveaxis(probabilities, 3, 0), atol=0.5 / 255 + 3e-4)
    assert conforms(place)


def test_uids_depend_on_model_options_image_and_targets(image, tmp_path):
    (place,), masks, _ = written(image("fundus"), tmp_path / "a")
    (again,), _, _ = written(image("fundus"), tmp_path / "b")
    first, second = pydicom.dcmread(place), pydicom.dcmread(again)
    assert first.SOPInstanceUID == second.SOPInstanceUID
    assert first.SeriesInstanceUID == second.SeriesInstanceUID
    source = read_source(image("fundus"))
    others = [
        dicom_segmentation(source, masks, ("vessels", "veins"), "fundus", MODEL),
        dicom_segmentation(source, masks.astype("float32"), TARGETS, "fundus", MODEL),
    ]
    uids = {first.SOPInstanceUID, *(one.SOPInstanceUID for one in others)}
    assert len(uids) == 3 and all(len(uid) <= 64 for uid in uids)


def test_headers_of_poor_quality(image, tmp_path):
    path = image(
        "radiograph",
        **dict.fromkeys(("PatientSex", "StudyID", "StudyTime", "AccessionNumber")),
        PatientBirthDate="",
        FrameOfReferenceUID="1.2.3",
    )
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(path)
        dataset.add_new("StudyDate", "DA", "unknown")
        dataset.save_as(path)
        (place,), masks, _ = written(path, tmp_path / "out")
    found = pydicom.dcmread(place)
    assert (found.PatientSex, found.StudyDate, found.AccessionNumber) == ("", "", "")
    assert "FrameOfReferenceUID" not in found
    np.testing.assert_array_equal(found.pixel_array, np.moveaxis(masks[0], 2, 0))


def test_refusals_say_nothing_of_the_header(image, tmp_path, caplog):
    with pytest.raises(InputError, match="lacks Study Instance UID, so no DICOM object"):
        written(image("radiograph", StudyInstanceUID=None), tmp_path / "out")
    # A private kind of object, which highdicom cannot describe.
    path = image("radiograph", SOPClassUID="1.2.826.0.1.3680043.8.498.99")
    with pytest.raises(InputError, match="not as the standard says") as error:
        written(path, tmp_path / "out")
    assert "lanted" not in f"{error.value}{caplog.text}" and error.value.__cause__
    assert not list((tmp_path / "out").iterdir())


def test_masks_of_another_size(image):
    source = read_source(image("fundus"))
    with pytest.raises(InputError, match=r"shape \(1, 4, 4, 1\).*expected 1 of 7 x 9 pixels for 1"):
        dicom_segmentation(source, np.zeros((1, 4, 4, 1), bool), ["disc"], "fundus", MODEL)


def test_only_dicom_images_have_them(image, tmp_path):
    png = tmp_path / "eye.png"
    from PIL import Image

    Image.new("L", (9, 7)).save(png)
    results = list(results_of(png))
    writer = ResultWriter(tmp_path / "out", png, dicom=DicomOptions(MODEL))
    with pytest.raises(InputError, match=r"eye.png is no DICOM file.*without --dicom-seg"):
        writer.check([results[0].file])
    with pytest.raises(InputError, match="no DICOM file"):
        writer.write(results[0])


def test_a_damaged_clip_leaves_nothing_and_an_existing_object_is_kept(image, tmp_path):
    path = image("ultrasound clip")
    first, second, third = results_of(path)
    writer = ResultWriter(tmp_path / "out", path, dicom=DicomOptions(MODEL))
    writer.write(first)
    writer.write(FileResult(path, 1, 3, error=InputError("cut"), file=first.file))
    assert not (tmp_path / "out/image_seg.dcm").exists()
    for result in (first, second, third):  # It begins anew.
        writer.write(result)
    content = Path(tmp_path / "out/image_seg.dcm").read_bytes()
    other = ResultWriter(tmp_path / "out", path, dicom=DicomOptions(MODEL))
    with pytest.raises(InputError, match="already exist"):
        other.check([first.file])
    assert Path(tmp_path / "out/image_seg.dcm").read_bytes() == content


def test_a_failed_write_leaves_the_old_file(image, tmp_path):
    source = read_source(image("fundus"))
    made = dicom_segmentation(source, np.ones((1, *SIZE, 1), bool), ["disc"], "fundus", MODEL)
    place = tmp_path / "seg.dcm"
    place.write_bytes(b"old")
    del made.file_meta.TransferSyntaxUID
    with pytest.raises(ValueError, match="Transfer Syntax"):
        write_dicom_object(place, made)
    assert {one.name for one in tmp_path.iterdir()} == {"image.dcm", "seg.dcm"}
    assert place.read_bytes() == b"old"


def test_the_helper_writes_what_it_says(tmp_path):
    path = dicom_image(tmp_path / "a.dcm", "slice")
    assert read_source(path).ImagePositionPatient == [0, 0, 5]
