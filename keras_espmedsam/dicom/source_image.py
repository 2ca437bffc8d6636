"""The header of a DICOM image that results refer to."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keras_espmedsam._startup import require
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.errors import InputError

_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
# They have to be there, but may be empty; many files leave them out.
_MAY_BE_EMPTY = (
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_DATES, _TIMES = ("PatientBirthDate", "StudyDate"), ("StudyTime",)
_DATE = re.compile(r"\d{4}(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])")
_TIME = re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d(\.\d{1,6})?)?)?")
_OF_A_SLICE = ("ImageOrientationPatient", "PixelSpacing", "SliceThickness")
_POSITION = (
    *("FrameOfReferenceUID", "PositionReferenceIndicator", "ImagePositionPatient"),
    *("ImageOrientationPatient", "SharedFunctionalGroupsSequence"),
    *("PerFrameFunctionalGroupsSequence", "DimensionIndexSequence"),
)


def read_source(path: str | os.PathLike) -> Any:
    """Read the header of the image that an object refers to, without its pixels.

    Args:
        path: a DICOM image.

    Returns:
        A pydicom dataset with everything that an object copies. Dates and codes that are not valid
        are empty. Its Frame of Reference is kept only if it also has a position in it.

    Raises:
        InputError: when it cannot be read, or lacks a UID.
    """
    path = Path(path)
    pydicom = require("pydicom", "Writing DICOM objects", "dicom")
    with described(path), quiet_libraries:
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        lacking = [name for name in _NEEDED if not header.get(name)]
        if lacking:
            words = ", ".join(pydicom.datadict.dictionary_description(name) for name in lacking)
            raise InputError(
                f"{path} lacks {words}, so no DICOM object can refer to it; save it again with the "
                "software that wrote it."
            )
        for name in _MAY_BE_EMPTY:
            if header.get(name) is None:
                setattr(header, name, "")
        for names, right in ((_DATES, _DATE), (_TIMES, _TIME)):
            for name in names:
                if not right.fullmatch(str(header[name].value)):
                    setattr(header, name, "")
        if str(header.PatientSex) not in ("M", "F", "O"):
            header.PatientSex = ""
        if not has_position(header):
            for name in _POSITION:
                if name in header:
                    delattr(header, name)
    return header


def has_position(header: Any) -> bool:
    """Return whether an image says where it lies in a Frame of Reference.

    Ultrasound, endoscopy, photographs and radiographs mostly do not.
    """
    spatial = require("highdicom.spatial", "Writing DICOM objects", "dicom")
    system = spatial.get_image_coordinate_system(header)
    if system is None:
        return False
    if header.get("SharedFunctionalGroupsSequence"):
        return True
    single = int(header.get("NumberOfFrames") or 1) == 1
    return single and all(header.get(name) for name in _OF_A_SLICE)


@contextlib.contextmanager
def described(path: Path) -> Iterator[None]:
    """Turn any exception into an `InputError` that quotes nothing of the header."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"No DICOM object can be written of {path} ({type(error).__name__}): its header is not "
            "as the standard says. Leave out --dicom-seg and --dicom-sr for it."
        ) from None
