"""Reports of the areas of targets, as DICOM structured reports after the template TID 1500."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.dicom.model_identity import ModelIdentity
from keras_espmedsam.dicom.segment_codes import PRIVATE_SCHEME, Code, segment_code
from keras_espmedsam.dicom.segmentation import (
    MANUFACTURER,
    REPORT_SERIES,
    concept,
    device,
    instance_number,
)
from keras_espmedsam.dicom.source_image import described

_IMAGING_PROCEDURE = Code("363679005", "SCT", "Imaging procedure")
_REPORT = Code("126000", "DCM", "Imaging Measurement Report")
_AREA = Code("42798000", "SCT", "Area")
_SQUARE_MILLIMETRE = Code("mm2", "UCUM", "square millimeter")
_PIXELS = Code("{pixels}", "UCUM", "pixels")
_UNIT_OF_AREA = Code("unit_of_area", PRIVATE_SCHEME, "Unit of area")
_UNCALIBRATED = Code("uncalibrated", PRIVATE_SCHEME, "Pixels: the image gives no pixel spacing")


def dicom_report(
    source: Any,
    segmentation: Any,
    areas: np.ndarray,
    targets: Sequence[str],
    modality: str,
    model: ModelIdentity,
    spacing: tuple[float, float] | None = None,
    path: Path = Path("image.dcm"),
) -> Any:
    """Make a report of the area of each target in each frame of an image.

    An area is in mm2 if the image says the size of its pixels; otherwise it is in pixels, and an
    entry says so.

    Args:
        source: the header of the image from `read_source`.
        segmentation: the segmentation from `dicom_segmentation`, to which each area refers.
        areas: `(frames, targets)`, in pixels.
        targets: the targets' names.
        modality: the modality's name.
        model: what made the masks.
        spacing: height and width of a pixel in mm, or None if they are unknown.
        path: the image's path, for messages.

    Returns:
        `highdicom.sr.ComprehensiveSR`, a pydicom dataset.

    Raises:
        InputError: for a header from which the standard makes no report.

    Source: DICOM PS3.16, TID 1500 and TID 1410.
    """
    hd = require("highdicom", "Writing DICOM reports", "dicom")
    frames = len(areas)
    with described(path), quiet_libraries:
        groups = [
            _group(hd, source, segmentation, model, modality, name, area, segment, frame, frames)
            for segment, name in enumerate(targets)
            for frame, area in enumerate(_measured(areas[:, segment], spacing))
        ]
        observer = hd.sr.ObserverContext(
            concept(hd, Code("121007", "DCM", "Device")),
            hd.sr.DeviceObserverIdentifyingAttributes(
                model.uid("device"),
                name=model.name,
                manufacturer_name=MANUFACTURER,
                model_name=model.name,
                serial_number=model.serial_number,
            ),
        )
        content = hd.sr.MeasurementReport(
            hd.sr.ObservationContext(observer_device_context=observer),
            concept(hd, _IMAGING_PROCEDURE),
            groups,
            title=concept(hd, _REPORT),
        )
        return hd.sr.ComprehensiveSR(
            [source, segmentation],
            content[0],
            series_instance_uid=model.uid("SR series", str(source.SeriesInstanceUID)),
            series_number=REPORT_SERIES,
            sop_instance_uid=report_uid(model, str(segmentation.SOPInstanceUID)),
            instance_number=instance_number(source),
            is_complete=True,
            series_description=f"Areas by {model.name}"[:64],
            **device(model),
        )


def report_uid(model: ModelIdentity, segmentation: str) -> str:
    """Return the SOP Instance UID that the report on a segmentation has.

    Args:
        model: what made the masks.
        segmentation: the segmentation's SOP Instance UID.
    """
    return model.uid("SR", segmentation)


def _measured(areas, spacing):
    """Return pairs of an area and its unit."""
    if spacing is None:
        return [(int(area), _PIXELS) for area in areas]
    return [(float(area) * math.prod(spacing), _SQUARE_MILLIMETRE) for area in areas]


def _group(hd, source, segmentation, model, modality, name, area, segment, frame, frames):
    """Return the measurements of a target in one frame."""
    value, unit = area
    code = segment_code(modality, name)
    several = frames > 1
    where = f" in frame {frame + 1}" if several else ""
    uncalibrated = hd.sr.QualitativeEvaluation(
        concept(hd, _UNIT_OF_AREA), concept(hd, _UNCALIBRATED)
    )
    segment_frame = hd.sr.ReferencedSegmentationFrame(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        segment * frames + frame + 1,
        segment + 1,
        hd.sr.SourceImageForSegmentation(
            source.SOPClassUID, source.SOPInstanceUID, [frame + 1] if several else None
        ),
    )
    # Of the two, the standard allows only the frame's number, which tells the segment.
    del segment_frame[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        hd.sr.TrackingIdentifier(
            model.uid("region", str(source.SOPInstanceUID), name, str(frame)),
            f"{name.replace('_', ' ')}{where}",
        ),
        referenced_segment=segment_frame,
        finding_type=concept(hd, code.type),
        finding_category=concept(hd, code.category),
        finding_sites=[hd.sr.FindingSite(concept(hd, code.region))] if code.region else None,
        measurements=[
            hd.sr.Measurement(
                concept(hd, _AREA),
                value,
                concept(hd, unit),
                algorithm_id=hd.sr.AlgorithmIdentification(model.name, model.version),
            )
        ],
        qualitative_evaluations=[uncalibrated] if unit == _PIXELS else None,
    )
