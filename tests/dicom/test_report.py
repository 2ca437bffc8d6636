"""Reports of areas: their numbers, units and references."""

import pytest

from tests.dicom.test_segmentation import conforms, written

hd = pytest.importorskip("highdicom")
pydicom = pytest.importorskip("pydicom")


def measured(path):
    """List of the groups of a report: identifier, area, unit, frame of the segmentation, remark."""
    codes = pydicom.sr.codedict.codes
    report = hd.sr.ComprehensiveSR.from_dataset(pydicom.dcmread(path))
    found = []
    for group in report.content.get_planar_roi_measurement_groups():
        (area,) = group.get_measurements(name=codes.SCT.Area)
        others = group.get_qualitative_evaluations()
        remark = [one.value.meaning for one in others if one.name.value == "unit_of_area"]
        (reference,) = hd.sr.utils.find_content_items(
            group[0], name=codes.DCM.ReferencedSegmentationFrame
        )
        frame = int(reference.ReferencedSOPSequence[0].ReferencedFrameNumber)
        found.append((group.tracking_identifier, area.value, area.unit.value, frame, remark))
    return found


def test_square_millimetres_where_they_are_known(image, tmp_path):
    (segmentation, report), masks, _ = written(image("slice"), tmp_path / "out", report=True)
    vessels, cup = measured(report)
    areas = masks[0].sum(axis=(0, 1)) * 0.5 * 0.25
    assert vessels == ("vessels", pytest.approx(areas[0]), "mm2", 1, [])
    assert cup == ("optic cup", pytest.approx(areas[1]), "mm2", 2, [])
    found, of = pydicom.dcmread(report), pydicom.dcmread(segmentation)
    assert found.PatientID == of.PatientID and found.StudyInstanceUID == of.StudyInstanceUID
    evidence = found.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    uids = {one.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for one in evidence}
    assert uids == {of.SOPInstanceUID, pydicom.dcmread(tmp_path / "image.dcm").SOPInstanceUID}
    assert conforms(report)


def test_pixels_where_nothing_is_known(image, tmp_path):
    (_, report), masks, _ = written(image("ultrasound clip"), tmp_path / "out", report=True)
    found = measured(report)
    remark = ["Pixels: the image gives no pixel spacing"]
    expected = [
        (
            f"{name} in frame {frame + 1}",
            masks[frame, ..., target].sum(),
            "{pixels}",
            number,
            remark,
        )
        for number, (target, name, frame) in enumerate(
            (
                (target, name, frame)
                for target, name in enumerate(("vessels", "optic cup"))
                for frame in range(3)
            ),
            1,
        )
    ]
    assert found == expected
    assert conforms(report)


def test_areas_of_probabilities_are_those_of_the_masks(image, tmp_path):
    (_, report), masks, _ = written(
        image("fundus"), tmp_path / "out", report=True, probabilities=True
    )
    assert [one[1] for one in measured(report)] == [masks[..., 0].sum(), masks[..., 1].sum()]
