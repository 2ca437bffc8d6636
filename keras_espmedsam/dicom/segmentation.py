"""DICOM Segmentation objects, by highdicom."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.dicom.model_identity import ModelIdentity
from keras_espmedsam.dicom.segment_codes import Code, SegmentCode, segment_code
from keras_espmedsam.dicom.source_image import described, has_position
from keras_espmedsam.errors import InputError

MANUFACTURER = "keras-espmedsam"
_MOST = 255  # The value that stands for the probability 1.
# Of a series in its study; far from the numbers that machines give.
SEGMENTATION_SERIES, REPORT_SERIES = 9801, 9802
# Functional groups, and what frames without a position are numbered by.
_FRAME_CONTENT, _STACK_POSITION = 0x00209111, 0x00209057


def dicom_segmentation(
    source: Any,
    masks: np.ndarray,
    targets: Sequence[str],
    modality: str,
    model: ModelIdentity,
    path: Path = Path("image.dcm"),
) -> Any:
    """Make a DICOM Segmentation of all frames of an image.

    Each target is a segment with its codes, each frame of the image a frame of each segment: first
    all frames of the first target, in their order. Empty masks are kept.

    Args:
        source: the header of the image from `read_source`.
        masks: `(frames, height, width, targets)`, as stored. Bool for a segmentation of the type
            BINARY; probabilities of a float type in [0, 1] for FRACTIONAL, in steps of 1 / 255.
        targets: the targets' names.
        modality: the modality's name.
        model: what made the masks.
        path: the image's path, for messages.

    Returns:
        `highdicom.seg.Segmentation`, a pydicom dataset.

    Raises:
        InputError: for masks of another size than the image, and for a header from which the
            standard makes no segmentation.

    Source: DICOM PS3.3, A.51 and C.8.20. An image without a position in a Frame of Reference, such
        as most ultrasound, endoscopy and radiographs, gives a segmentation without one: its frames
        refer to those of the image (A.51.5). highdicom makes that of one frame; several are
        numbered here by their position in a stack (In-Stack Position Number), as the image stores
        them.
    """
    frames, size = int(source.get("NumberOfFrames") or 1), (source.Rows, source.Columns)
    if masks.shape != (frames, *size, len(targets)):
        raise InputError(
            f"Received masks of the shape {masks.shape} for {path}; expected {frames} of "
            f"{size[0]} x {size[1]} pixels for {len(targets)} targets."
        )
    hd = require("highdicom", "Writing DICOM segmentations", "dicom")
    fractional = masks.dtype != bool
    planes = masks if fractional else masks.astype(np.uint8)
    if fractional:
        planes = np.clip(np.nan_to_num(planes.astype(np.float32)), 0, 1)
    with described(path), quiet_libraries:
        placed = has_position(source)
        made = hd.seg.Segmentation(
            [source if placed else _first_frame(source)],
            planes if placed else planes[:1],
            hd.seg.SegmentationTypeValues.FRACTIONAL
            if fractional
            else hd.seg.SegmentationTypeValues.BINARY,
            [
                _segment(hd, number, name, segment_code(modality, name), model)
                for number, name in enumerate(targets, 1)
            ],
            max_fractional_value=_MOST,
            omit_empty_frames=False,
            content_label="SEGMENTATION",
            content_description=f"{modality} by {model.name}"[:64],
            series_description=f"Segmentation by {model.name}"[:64],
            series_instance_uid=model.uid("SEG series", str(source.SeriesInstanceUID)),
            series_number=SEGMENTATION_SERIES,
            sop_instance_uid=segmentation_uid(
                model, str(source.SOPInstanceUID), modality, targets, fractional
            ),
            instance_number=instance_number(source),
            **device(model),
        )
        if not placed:
            made.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence", None)
            if frames > 1:
                _repeat(made, planes, frames)
        if "PlaneOrientationSequence" not in made.SharedFunctionalGroupsSequence[0]:
            made.PatientOrientation = source.get("PatientOrientation")
    return made


def segmentation_uid(
    model: ModelIdentity, image: str, modality: str, targets: Sequence[str], probabilities: bool
) -> str:
    """Return the SOP Instance UID that the segmentation of an image has.

    Args:
        model: what makes the masks.
        image: the image's SOP Instance UID.
        modality: the modality's name.
        targets: the targets' names.
        probabilities: whether it holds probabilities.
    """
    kind = "FRACTIONAL" if probabilities else "BINARY"
    return model.uid("SEG", image, modality, kind, *targets)


def device(model: ModelIdentity) -> dict[str, Any]:
    """Return what every object says about the software that made it."""
    return {
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": model.name,
        "software_versions": (model.software, f"{model.name} {model.version}"[:64]),
        "device_serial_number": model.serial_number,
    }


def instance_number(source: Any) -> int:
    """Return the image's number in its series, which its objects take; 1 if it has none."""
    try:
        return max(1, int(source.get("InstanceNumber") or 1))
    except (TypeError, ValueError):
        return 1


def concept(hd: Any, code: Code) -> Any:
    """Return a code as highdicom's coded concept."""
    return hd.sr.CodedConcept(code.value, code.scheme, code.meaning)


def _segment(hd: Any, number: int, name: str, code: SegmentCode, model: ModelIdentity) -> Any:
    return hd.seg.SegmentDescription(
        number,
        name.replace("_", " ")[:64],
        concept(hd, code.category),
        concept(hd, code.type),
        hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        hd.AlgorithmIdentificationSequence(
            model.name,
            concept(hd, Code("123110", "DCM", "Artificial Intelligence")),
            model.version,
            source=MANUFACTURER,
        ),
        anatomic_regions=[concept(hd, code.region)] if code.region else None,
    )


def _first_frame(source: Any) -> Any:
    """Return the header of an image of one frame that highdicom accepts.

    It looks for functional groups in all kinds of images that may have several frames, such as
    ophthalmic photographs, and writes pixel measures without a thickness that it cannot read.
    """
    dataset = require("pydicom.dataset", "Writing DICOM segmentations", "dicom")
    first = copy.deepcopy(source)
    first.NumberOfFrames = 1
    first.pop("PixelSpacing", None)
    groups, measures = dataset.Dataset(), dataset.Dataset()
    measures.PixelSpacing, measures.SliceThickness = [1, 1], 1
    groups.PixelMeasuresSequence = [measures]
    first.SharedFunctionalGroupsSequence = [groups]
    return first


def _repeat(made: Any, planes: np.ndarray, frames: int) -> None:
    """Give a segmentation of the first frame all frames: segment by segment, in their order."""
    pixels = require("pydicom.pixels.utils", "Writing DICOM segmentations", "dicom")
    dataset = require("pydicom.dataset", "Writing DICOM segmentations", "dicom")
    index = dataset.Dataset()
    index.DimensionOrganizationUID = made.DimensionIndexSequence[0].DimensionOrganizationUID
    index.DimensionIndexPointer = _STACK_POSITION
    index.FunctionalGroupPointer = _FRAME_CONTENT
    index.DimensionDescriptionLabel = "In-Stack Position Number"
    made.DimensionIndexSequence.append(index)
    groups = []
    for segment, first in enumerate(made.PerFrameFunctionalGroupsSequence, 1):
        for frame in range(1, frames + 1):
            group = copy.deepcopy(first)
            (content,) = group.FrameContentSequence
            content.StackID, content.InStackPositionNumber = "1", frame
            content.DimensionIndexValues = [segment, frame]
            (derivation,) = group.DerivationImageSequence
            (image,) = derivation.SourceImageSequence
            image.ReferencedFrameNumber = frame
            groups.append(group)
    made.PerFrameFunctionalGroupsSequence = groups
    made.NumberOfFrames = len(groups)
    in_order = np.moveaxis(planes, 3, 0)
    if made.SegmentationType == "BINARY":
        made.SegmentsOverlap = "YES" if (planes.sum(axis=3, dtype=np.uint8) > 1).any() else "NO"
        made.PixelData = pixels.pack_bits(in_order.ravel(), pad=True)
    else:
        stored = np.around(in_order * _MOST).astype(np.uint8).tobytes()
        made.PixelData = stored + b"\0" * (len(stored) % 2)
