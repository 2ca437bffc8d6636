"""Where the pixels of an image lie in space, as viewers place them."""

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.pixel_spacing import pixel_spacing

_TAGS = [
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"),
    *("SpacingBetweenSlices", "SliceThickness"),
]
# x and y point the other way in NIfTI.
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def stored_affine(image: DecodedImage) -> np.ndarray:
    """Return the affine of an image as it is stored.

    An image without a position gets one that has its first pixel at 0, columns to the patient's
    left and rows to the back, as ITK reads it, and with it 3D Slicer.

    Args:
        image: the image.

    Returns:
        `(4, 4)`, from column, row and slice (or from the voxels of a volume) to millimetres, where
        x points to the patient's right, y to the front and z to the head.

    Example:
        >>> from pathlib import Path
        >>> stored_affine(DecodedImage(np.zeros((2, 3)), Path("eye.png"))).diagonal().tolist()
        [-1.0, -1.0, 1.0, 1.0]

    Source: DICOM PS3.3, C.7.6.2.1.1.
    """
    if image.volume is not None:
        return np.asarray(image.volume.affine, np.float64)
    affine = np.eye(4)
    format = file_kind(image.path).format
    if format is not None and format.name == "DICOM":
        height, width = pixel_spacing(image) or (1.0, 1.0)
        affine = np.diag([width, height, 1.0, 1.0])
        placed = _placed(image)
        if placed is not None:
            affine = placed
    return _TO_RAS @ affine


def _placed(image):
    """Return the affine of a DICOM slice in DICOM's directions, or None if it has no position."""
    pydicom = require("pydicom", "Reading DICOM files")
    try:
        header = pydicom.dcmread(
            image.path, stop_before_pixels=True, force=True, specific_tags=_TAGS
        )
        position = np.array([float(one) for one in header.ImagePositionPatient])
        directions = np.array([float(one) for one in header.ImageOrientationPatient]).reshape(2, 3)
        down, across = (float(one) for one in header.PixelSpacing)
        between = header.get("SpacingBetweenSlices") or header.get("SliceThickness") or 1.0
        normal = np.cross(*directions)
        columns = [directions[0] * across, directions[1] * down, normal * float(between), position]
        affine = np.eye(4)
        affine[:3] = np.stack(columns, axis=-1)
    except Exception:  # No position, or what is no number.
        return None
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine)) > 1e-9
    return affine if usable else None
