"""The size of an image's pixels in mm, where its file says so."""

from typing import Any

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_kind import file_kind

_TAGS = ["PixelSpacing", "SharedFunctionalGroupsSequence", "SequenceOfUltrasoundRegions"]
# Of an ultrasound region: two-dimensional, and measured in cm.
_PLANE, _CENTIMETRES = 1, 3
# NIfTI's metres, millimetres and micrometres. Most files that name no unit mean millimetres.
_MILLIMETRES = {1: 1000.0, 2: 1.0, 3: 0.001}


def pixel_spacing(image: DecodedImage) -> tuple[float, float] | None:
    """Return the height and the width of a pixel in mm, as the image is stored.

    Volumes (NIfTI) and DICOM files with a Pixel Spacing tell it, and ultrasound whose regions are
    calibrated in cm, all alike. A DICOM file's Imager Pixel
    Spacing does not: it is that of the detector, not of what is seen. Resolutions in PNG, JPEG and
    TIFF files are those of a print or a screen.

    Args:
        image: the image.

    Returns:
        Two numbers above 0, or None if the file does not say.

    Example:
        >>> from pathlib import Path
        >>> from keras_espmedsam.data.formats.volume import Volume
        >>> volume = Volume((5, 4, 3), np.diag([0.5, 2.0, 3.0, 1.0]))
        >>> pixel_spacing(DecodedImage(np.zeros((5, 4)), Path("scan.nii"), volume=volume))
        (0.5, 2.0)

    Source: DICOM PS3.3, 10.7.1.1, C.7.6.16.2.1 (Pixel Measures) and C.8.5.5 (US Regions); the
        NIfTI-1 header's `xyzt_units`.
    """
    if image.volume is not None:
        unit = int(np.ravel(image.volume.geometry.get("xyzt_units", 2))[0]) & 7
        # A slice is stored with the volume's first axis down and its second across.
        length = np.linalg.norm(np.asarray(image.volume.affine, np.float64)[:3, :2], axis=0)
        return _checked(length * _MILLIMETRES.get(unit, 1.0))
    format = file_kind(image.path).format
    if format is None or format.name != "DICOM":
        return None
    pydicom = require("pydicom", "Reading DICOM files")
    try:
        header = pydicom.dcmread(
            image.path, stop_before_pixels=True, force=True, specific_tags=_TAGS
        )
        groups = header.get("SharedFunctionalGroupsSequence") or [{}]
        measures = groups[0].get("PixelMeasuresSequence") or [{}]
        spacing = header.get("PixelSpacing") or measures[0].get("PixelSpacing")
        return _checked(spacing or _of_regions(header))
    except Exception:  # Some scanners write what is no number, or no sequence.
        return None


def _of_regions(header: Any) -> tuple[float, float] | None:
    """Return the spacing that all two-dimensional regions of an ultrasound image share."""
    found = {
        (10 * abs(float(one.PhysicalDeltaY)), 10 * abs(float(one.PhysicalDeltaX)))
        if one.PhysicalUnitsXDirection == one.PhysicalUnitsYDirection == _CENTIMETRES
        else None
        for one in header.get("SequenceOfUltrasoundRegions") or []
        if one.RegionSpatialFormat == _PLANE
    }
    return found.pop() if len(found) == 1 else None


def _checked(spacing: Any) -> tuple[float, float] | None:
    found = np.asarray([] if spacing is None else list(spacing), np.float64)
    if found.shape != (2,) or not np.isfinite(found).all() or (found <= 0).any():
        return None
    return float(found[0]), float(found[1])
