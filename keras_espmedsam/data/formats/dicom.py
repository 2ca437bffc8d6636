"""Read the frames of DICOM files as images. Only pixels leave this module.

No header field is stored in an image, written to a file or quoted in a message, because most can
identify a patient. For the same reason, pydicom's messages are not repeated. Messages only name
the kinds of objects and compression that the standard defines.
"""

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.data.formats.dicom_codecs import best_decoder
from keras_espmedsam.data.formats.dicom_window import first_number, window_function
from keras_espmedsam.data.formats.file_format import HEAD_BYTES, FileFormat
from keras_espmedsam.data.formats.image_source import Frame, ImageSource
from keras_espmedsam.data.formats.lookup_table import LookupTable
from keras_espmedsam.errors import InputError, NoImageError
from keras_espmedsam.imaging.stored_values import Meaning, to_unit

_SEGMENTATIONS = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_DEFLATED = "1.2.840.10008.1.2.1.99"
# Limits of a deflated file: this many bytes in any case, or this many times its length.
_MOST_INFLATED, _LARGEST_SOUND_RATIO = 2**28, 200
# Each compressed frame has its own tag and length.
_LEAST_OF_A_FRAME = 8
_UNCOMPRESSED = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_ONE_SEGMENT = "a segment of an image"
_COLOURS = ("Red", "Green", "Blue")
_INTERPRETATIONS = (
    *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB"),
    *("YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
)
_UNREAD_INTERPRETATIONS = ("HSV", "ARGB", "CMYK", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "XYB")
# These codecs store their bit depth, which is more reliable than the header's.
_CODECS_THAT_SAY_THEIR_BITS = ("JPEG 2000", "JPEG-LS", "High-Throughput")
# A file without a preamble starts with an element of group 2 or 8, and its type or length.
_GROUPS, _TYPES = (b"\x02\0", b"\x08\0"), (b"UL", b"OB", b"UI", b"CS", b"DA")


class DicomFormat(FileFormat):
    """DICOM, with or without a preamble.

    Source: DICOM PS3.10, 7.1.
    """

    name = "DICOM"
    suffixes = (".dcm", ".dicom", ".ima")
    signatures = ((128, b"DICM"),)
    loggers = ("pydicom", "highdicom")

    def sniff(self, head: bytes, path: Path) -> bool:
        """Return whether the file has the preamble, or starts with a header element."""
        if super().sniff(head, path):
            return True
        small = 0 < int.from_bytes(head[4:8], "little") <= 128
        starts = head[:2] in _GROUPS and head[3:4] == b"\0"
        return starts and (head[4:6] in _TYPES or small)

    def open(self, path: Path) -> ImageSource:
        """Read the header of a DICOM file.

        Grey frames are rescaled, shown with the first complete VOI LUT, or else the first window
        that the standard allows, and inverted if MONOCHROME1 makes the lowest value white. Without
        a LUT or window, values of up to 8 bits are unchanged, and deeper ones are scaled by the
        percentiles of all frames. Padding is black. Colour frames become RGB.

        Args:
            path: the file.

        Returns:
            The size and number of its frames, and a function that decodes them.

        Raises:
            InputError: when pydicom is not installed, or the file holds no image.

        Source: DICOM PS3.3, C.7.5.1.1.2, C.7.6.3, C.11.1 and C.11.2; PS3.5, 8.1.1.
        """
        pydicom = require("pydicom", "Reading DICOM files")
        try:
            # Old scanners write no preamble; the checks below tell whether it is DICOM.
            _check_inflated(path, pydicom)
            header = pydicom.dcmread(path, stop_before_pixels=True, force=True)
            kind = _kind(header, pydicom)
        except InputError:
            raise
        except Exception:
            raise InputError(f"{path} cannot be read as DICOM; expected a DICOM file.") from None
        try:
            height, width = int(header.Rows), int(header.Columns)
            count = int(header.get("NumberOfFrames") or 1)
        except Exception:
            if "Image Storage" in kind:
                raise InputError(f"{path} is a DICOM image whose header has no size.") from None
            if kind:
                sentence = f"{path} holds no DICOM image; it is of the kind {kind!r}."
                raise NoImageError(sentence, kind) from None
            raise InputError(
                f"{path} holds no DICOM image; it may be a report, a plan, cut short, or no DICOM "
                "file."
            ) from None
        no_image = _no_image(header, kind)
        _check_count(path, header, height * width, count)
        return ImageSource(
            height,
            width,
            count,
            lambda: _frames(path, _image),
            labels=lambda: _frames(path, _labels),
            no_image=no_image,
            serves_as_mask=not no_image or no_image.startswith(_ONE_SEGMENT),
        )


def _check_inflated(path: Path, pydicom: Any) -> None:
    """Reject a decompression bomb, because pydicom inflates the whole file."""
    with path.open("rb") as file:
        if _DEFLATED.encode() not in file.read(HEAD_BYTES):
            return
        meta = pydicom.filereader.read_file_meta_info(path)
        if str(meta.get("TransferSyntaxUID")) != _DEFLATED:
            return
        # The first element of the meta information, 12 bytes long, gives its end.
        file.seek(132 + 12 + int(meta.FileMetaInformationGroupLength))
        most = max(_MOST_INFLATED, _LARGEST_SOUND_RATIO * path.stat().st_size)
        stream, length = zlib.decompressobj(-zlib.MAX_WBITS), 0
        while not stream.eof and (data := stream.unconsumed_tail or file.read(2**16)):
            length += len(stream.decompress(data, 2**20))
            if length > most:
                raise InputError(
                    f"{path} is not a valid file: inflated, it has more than {most:,} bytes, out "
                    "of proportion to its length."
                )


def _check_count(path: Path, header: Any, pixels: int, count: int) -> None:
    """Reject a header that promises more frames than the file has room for."""
    syntax = str(getattr(header, "file_meta", {}).get("TransferSyntaxUID") or "")
    there = path.stat().st_size
    if syntax == _DEFLATED:
        there *= 1032  # The highest ratio of deflate.
        bits = pixels
    elif syntax in _UNCOMPRESSED:
        bits = pixels
    else:
        bits = 8 * _LEAST_OF_A_FRAME
    if count > 1 and count * bits > 8 * there:
        raise InputError(
            f"{path} is damaged or cut short: its header promises {count:,} frames, but the file "
            "is too short for them. Get a new copy of it."
        )


def _kind(header: Any, pydicom: Any) -> str:
    """Return the standard's name for the kind of object, such as `RT Structure Set Storage`."""
    meta = getattr(header, "file_meta", {})
    uid = header.get("SOPClassUID") or meta.get("MediaStorageSOPClassUID") or ""
    return _name(pydicom.uid.UID(str(uid)))


def _name(uid: Any) -> str:
    """Return the standard's name of a UID; empty for private ones, which may hold any text."""
    return "" if uid.name == uid else uid.name


def _no_image(header: Any, kind: str) -> str:
    """Describe pixels that are not an image, such as doses; empty if they are an image."""
    uid = str(header.get("SOPClassUID") or "")
    if uid in _SEGMENTATIONS or header.get("Modality") == "SEG":
        segments = len(header.get("SegmentSequence") or [])
        if segments > 1:
            return f"{segments} segments of an image ({kind})"
        return f"{_ONE_SEGMENT} ({kind}), which serves as a mask"
    if uid == _DOSE or header.get("Modality") == "RTDOSE":
        return f"doses ({kind})"
    return ""


def _frames(path: Path, read: Callable[[np.ndarray, Any, int], Frame]) -> Iterator[Frame]:
    pydicom = require("pydicom", "Reading DICOM files")
    pixels = require("pydicom.pixels", "Reading DICOM files")
    dataset = pydicom.dcmread(path, force=True)
    if not any(key in dataset for key in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise InputError(f"{path} holds no pixels; give a DICOM file with an image.")
    if not hasattr(dataset.file_meta, "TransferSyntaxUID"):
        dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    syntax = dataset.file_meta.TransferSyntaxUID
    _complete(path, dataset)
    decoded = _decoded(dataset, _decoder_name(path, syntax, pixels), pixels)
    for number in range(int(dataset.get("NumberOfFrames") or 1)):
        try:
            frame = next(decoded)
        except (NotImplementedError, RuntimeError):
            raise InputError(
                f"The pixels of {path} ({syntax.name}) cannot be decoded: they are cut short, "
                "damaged, or of a form that the installed decoders do not know. Get a new copy of "
                "the file, or convert it to an uncompressed one."
            ) from None
        yield read(_stored(frame, dataset, syntax), dataset, number)


def _decoded(dataset: Any, decoder: str, pixels: Any) -> Iterator[np.ndarray]:
    if dataset.BitsAllocated == 1:
        # Decoded frame by frame, pydicom 3.0 loses the end of frames that end within a byte.
        values = pixels.pixel_array(dataset)
        return iter(values.reshape(-1, *values.shape[-2:]))
    return pixels.iter_pixels(
        dataset,
        decoding_plugin=decoder,
        correct_unused_bits=False,  # pydicom ignores that the stored bits may not be the lowest.
    )


def _complete(path: Path, dataset: Any) -> None:
    """Add header fields that some writers leave out, if only one value is possible."""
    allocated = dataset.get("BitsAllocated")
    if allocated not in (1, 8, 16, 32, 64):
        # In a damaged header this may be any text, which must not be shown.
        says = isinstance(allocated, int) and allocated
        found = f"stores values of {allocated} bits" if says else "does not say its bits"
        raise InputError(
            f"{path} {found}; expected 1, 8, 16, 32 or 64 bits allocated. Convert it with the "
            "software that wrote it."
        )
    interpretation = str(dataset.get("PhotometricInterpretation") or "").strip().upper()
    if interpretation not in _INTERPRETATIONS:
        if interpretation in _UNREAD_INTERPRETATIONS:
            raise InputError(
                f"{path} holds colours of the kind {interpretation}, which is not supported; "
                "convert it to RGB."
            )
        raise InputError(
            f"{path} lacks a photometric interpretation, so its black and white, or its colours, "
            "are unknown. Save it again with the software that wrote it."
        )
    dataset.PhotometricInterpretation = interpretation
    samples = dataset.get("SamplesPerPixel") or 1
    for name, value in (
        ("SamplesPerPixel", samples),
        ("PlanarConfiguration", 0 if samples > 1 else None),
        ("BitsStored", allocated),
        ("PixelRepresentation", 0),
    ):
        if dataset.get(name) is None and value is not None:
            setattr(dataset, name, value)


def _decoder_name(path: Path, syntax: Any, pixels: Any) -> str:
    try:
        decoder = pixels.get_decoder(syntax)
    except NotImplementedError:
        raise InputError(
            f"{path} is compressed as {_name(syntax) or 'an unknown type'}, which is not "
            "supported; convert it (a video to image files) and try again."
        ) from None
    name = best_decoder(decoder)
    if decoder.is_encapsulated and not name:
        raise InputError(
            f"{path} is compressed as {syntax.name}, which needs a decoder that is not "
            'installed; install it with: pip install "keras-espmedsam[medical]"'
        )
    return name


def _stored(frame: np.ndarray, dataset: Any, syntax: Any) -> np.ndarray:
    """The values in the stored bits; what lies above or below them is no part of the image."""
    allocated, stored = dataset.get("BitsAllocated"), dataset.get("BitsStored")
    if frame.dtype.kind not in "iu" or not stored or stored >= 8 * frame.dtype.itemsize:
        return frame
    if syntax.name.startswith(_CODECS_THAT_SAY_THEIR_BITS):
        # Some encode the stored bits of signed values as unsigned ones of more bits.
        fits = frame.min() >= -(2 ** (stored - 1)) and frame.max() < 2**stored
        if frame.dtype.kind == "u" or not fits:
            return frame
    if not syntax.is_encapsulated or "RLE" in syntax.name:
        high = dataset.get("HighBit")
        shift = 0 if high is None else int(high) + 1 - stored
        if 0 < shift <= allocated - stored:
            frame = frame >> shift
    frame = frame & frame.dtype.type(2**stored - 1)
    if frame.dtype.kind == "u":
        return frame
    sign = frame.dtype.type(2 ** (stored - 1))
    return (frame ^ sign) - sign


def _labels(frame: np.ndarray, dataset: Any, number: int) -> Frame:
    """Return a mask's stored values without a window; 0 is the value shown as black."""
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        frame = (2 ** int(dataset.BitsStored) - 1 - frame).astype(frame.dtype)
    return Frame(frame)


def _image(frame: np.ndarray, dataset: Any, number: int) -> Frame:
    bits = int(dataset.get("BitsStored") or 0) or None
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return _palette_colours(frame, dataset)
    if frame.ndim == 3:
        # Colours are unsigned, even if some headers say otherwise.
        frame = frame[..., :3].view(f"u{frame.itemsize}")
        return Frame(frame, meaning=Meaning(bits=bits, whole=_whole(frame, bits)))
    meaning = Meaning(
        bits=None if frame.dtype.kind == "f" else bits,
        whole=None if frame.dtype.kind == "f" else _whole(frame, bits),
        padding=_padding(frame, dataset),
        inverted=dataset.PhotometricInterpretation == "MONOCHROME1",
        measured=True,
    )
    if frame.dtype.kind == "f" and meaning.padding is not None:
        frame = np.where(meaning.padding, frame.dtype.type(0), frame)  # Padding may be NaN.
    functions = _functions(dataset, number, "PixelValueTransformation")
    if dataset.get("ModalityLUTSequence"):
        item = dataset.ModalityLUTSequence[0]
        table = LookupTable.of(item.LUTDescriptor, item.LUTData, _little_endian(dataset))
        frame = table(frame)
        bits = table.white.bit_length()
        meaning = dataclasses.replace(meaning, bits=bits, whole=(0, table.white))
    else:
        slope, intercept = (
            first_number(functions.get(name), default)
            for name, default in (("RescaleSlope", 1.0), ("RescaleIntercept", 0.0))
        )
        if (slope, intercept) != (1, 0) and slope != 0:
            frame = frame * slope + intercept
            if meaning.whole:
                low, high = sorted(value * slope + intercept for value in meaning.whole)
                meaning = dataclasses.replace(meaning, whole=(low, high))
    window = window_function(_functions(dataset, number, "FrameVOILUT"), _little_endian(dataset))
    return Frame(frame, meaning=dataclasses.replace(meaning, window=window))


def _whole(frame, bits):
    """Return the lowest and the highest value that the stored bits can hold."""
    bits = bits or 8 * frame.dtype.itemsize
    return (
        (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if frame.dtype.kind == "i" else (0, 2**bits - 1)
    )


def _padding(frame: np.ndarray, dataset: Any) -> np.ndarray | None:
    """Return a mask of the frame's padding, or None."""
    prefix = {"f": "Float", "d": "DoubleFloat"}.get(frame.dtype.char, "")
    first = first_number(dataset.get(f"{prefix}PixelPaddingValue"))
    if prefix and f"{prefix}PixelPaddingValue" in dataset and first is None:  # NaN
        return np.isnan(frame)
    if first is None:
        return None
    last = first_number(dataset.get(f"{prefix}PixelPaddingRangeLimit"), first)
    if frame.dtype.kind in "iu":
        bits = int(dataset.get("BitsStored") or 8 * frame.dtype.itemsize)
        first, last = (_with_sign_of(value, frame, bits) for value in (first, last))
    return (frame >= min(first, last)) & (frame <= max(first, last))


def _with_sign_of(value, frame, bits):
    """Correct a value that was written unsigned for signed pixels, or the other way round."""
    low, high = _whole(frame, bits)
    if low <= value <= high:
        return value
    for size in (8 * frame.dtype.itemsize, bits):  # All bits of a word, or the stored ones.
        wrapped = value + 2**size if value < low else value - 2**size
        if low <= wrapped <= high and (low < 0 or value < low):
            return wrapped
    return value


def _palette_colours(frame: np.ndarray, dataset: Any) -> Frame:
    little = _little_endian(dataset)
    if "RedPaletteColorLookupTableData" in dataset:
        # All three should agree; red's count and first value are the most reliable.
        red = list(dataset.RedPaletteColorLookupTableDescriptor)
        tables = []
        for colour in _COLOURS:
            own = dataset.get(f"{colour}PaletteColorLookupTableDescriptor") or red
            data = dataset.get(f"{colour}PaletteColorLookupTableData")
            if data is None:
                raise ValueError(f"No {colour.lower()} in a palette.")
            tables.append(LookupTable.of([*red[:2], own[-1]], data, little))
        # Some files declare 16 bits for entries of 8 bits.
        shallow = all(table.entries.max() <= 255 for table in tables)
        channels = [
            to_unit(table(frame), 0, 255 if shallow or table.bits <= 8 else 65535)
            for table in tables
        ]
        return Frame(np.stack(channels, axis=-1))
    # A segmented palette, which pydicom expands.
    pixels = require("pydicom.pixels", "Reading DICOM files")
    colours = pixels.apply_color_lut(frame, dataset)[..., :3]
    return Frame(to_unit(colours, 0, np.iinfo(colours.dtype).max))


def _little_endian(dataset: Any) -> bool:
    return dataset.file_meta.TransferSyntaxUID.is_little_endian


def _functions(dataset: Any, number: int, name: str) -> Any:
    """Return the item with a frame's rescaling or window: its own, the shared one or the file's."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    for groups in (*per_frame[number : number + 1], *shared[:1]):
        items = groups.get(f"{name}Sequence")
        if items:
            return items[0]
    return dataset
