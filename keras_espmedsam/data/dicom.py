"""DICOM files: their frames as pictures. Nothing but pixels leaves this module.

No field of a header is stored in a picture, written to a file or quoted in a message: most
of them can identify a patient. For the same reason the messages of pydicom are not repeated.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from keras_espmedsam._extras import require
from keras_espmedsam.imaging.intensity import stretch_range, to_unit
from keras_espmedsam.data.picture import Frame, PictureSource
from keras_espmedsam.errors import InputError


def open_dicom(path: Path) -> PictureSource:
    """Read the header of a DICOM file.

    Grey frames are rescaled, windowed by the first window of the file, and inverted where
    MONOCHROME1 says that the lowest value is white. Without a window, 8-bit frames are taken as
    they are and deeper ones are scaled from their 0.5 to their 99.5 percentile. Colour frames
    become RGB.

    Args:
        path: the file.

    Returns:
        The size and number of its frames and a function that decodes them.

    Raises:
        InputError: when pydicom is not installed, or the file holds no pictures.

    Source: DICOM PS3.3, C.7.6.3, C.11.1 and C.11.2.
    """
    pydicom = require("pydicom", "Reading DICOM files")
    try:
        # Files of old scanners lack the preamble; whether it is DICOM shows below.
        header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        height, width = int(header.Rows), int(header.Columns)
        count = int(header.get("NumberOfFrames") or 1)
    except Exception:
        raise InputError(
            f"{path} holds no DICOM picture; it may be a report, a plan, or no DICOM file."
        ) from None
    return PictureSource(
        height, width, count, lambda: _frames(path), labels=lambda: _frames(path, labels=True)
    )


def _frames(path: Path, labels: bool = False) -> Iterator[Frame]:
    pydicom = require("pydicom", "Reading DICOM files")
    pixels = require("pydicom.pixels", "Reading DICOM files")
    dataset = pydicom.dcmread(path, force=True)
    if not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{path} holds no pixels; give a DICOM file with a picture.")
    if not hasattr(dataset.file_meta, "TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    decoded = pixels.iter_pixels(dataset)
    for number in range(int(dataset.get("NumberOfFrames") or 1)):
        try:
            frame = next(decoded)
        except (NotImplementedError, RuntimeError):
            raise InputError(
                f"The pixels of {path} are cut short, or compressed in a way that needs another "
                "decoder; try again after: pip install pylibjpeg pylibjpeg-libjpeg "
                "pylibjpeg-openjpeg"
            ) from None
        if labels:
            yield Frame(_labels(frame, dataset))
        else:
            yield Frame(_picture(frame, dataset, number, pixels))


def _labels(frame: np.ndarray, dataset) -> np.ndarray:
    """A mask's values as stored, no window applied; 0 is what would be shown black."""
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        return (2 ** int(dataset.BitsStored) - 1 - frame).astype(frame.dtype)
    return frame


def _picture(frame: np.ndarray, dataset, number: int, pixels) -> np.ndarray:
    interpretation = dataset.PhotometricInterpretation
    if interpretation == "PALETTE COLOR":
        return pixels.apply_color_lut(frame, dataset)
    if frame.ndim == 3:
        return frame[..., :3]
    rescaling = _functions(dataset, number, "PixelValueTransformation")
    values = pixels.apply_modality_lut(frame, rescaling)
    window = _functions(dataset, number, "FrameVOILUT")
    if window.get("VOILUTSequence"):
        values = pixels.apply_voi(values.astype(frame.dtype), window)
        bits = int(window.VOILUTSequence[0].LUTDescriptor[2])
        unit = to_unit(values, 0, 2**bits - 1)
    elif window.get("WindowWidth") not in (None, ""):
        unit = to_unit(values, *_window_range(window))
    elif dataset.get("BitsStored") == 8 and frame.dtype == np.uint8:
        return 255 - frame if interpretation == "MONOCHROME1" else frame
    else:
        unit = to_unit(values, *stretch_range(values))
    return 1 - unit if interpretation == "MONOCHROME1" else unit


def _functions(dataset, number: int, name: str):
    """The item that holds a frame's rescaling or window: its own, the shared one, the file's."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*per_frame[number : number + 1], *shared[:1]):
        items = groups.get(f"{name}Sequence")
        if items:
            return items[0]
    return dataset


def _window_range(window) -> tuple[float, float]:
    def first(value):
        return float(value[0] if hasattr(value, "__len__") and len(value) else value)

    centre, width = first(window.WindowCenter), first(window.WindowWidth)
    if window.get("VOILUTFunction") == "LINEAR_EXACT":
        return centre - width / 2, centre + width / 2
    # DICOM's LINEAR: the window of width w covers w values, hence w - 1 steps. The half pixel
    # is the standard's. SIGMOID is shown by its linear part.
    return centre - 0.5 - (width - 1) / 2, centre - 0.5 + (width - 1) / 2
