"""Read the slices of NIfTI volumes as images, and write masks with the same shape and affine."""

import functools
import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_format import FileFormat
from keras_espmedsam.data.formats.image_source import Frame, ImageSource
from keras_espmedsam.data.formats.volume import Volume
from keras_espmedsam.data.layout import Layout
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.stored_values import Meaning, Statistics, to_unit

_GZIP_SIGNATURE = b"\x1f\x8b"
# The highest compression ratio of deflate.
_LARGEST_RATIO = 1032
# The geometry, which a mask copies from its volume's header bit for bit. Text fields (descrip,
# db_name, ...) and header extensions can hold a patient's name and are not copied.
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


class NiftiFormat(FileFormat):
    """NIfTI-1 and -2 in one file, gzipped or not."""

    name = "NIfTI"
    suffixes = (".nii", ".nii.gz")
    signatures = ((344, b"n+1\0"), (4, b"n+2\0"))
    image_word = "slice"
    mask_suffixes = (".nii", ".nii.gz")
    masks_need_volume = True
    loggers = ("nibabel.global",)

    def sniff(self, head: bytes, path: Path) -> bool:
        """Return whether the file has a NIfTI header, gzipped or not."""
        if head[:2] == _GZIP_SIGNATURE:
            try:
                head = zlib.decompressobj(31).decompress(head)
            except zlib.error:
                return False
        return super().sniff(head, path)

    def open(self, path: Path) -> ImageSource:
        """Read the header of a `.nii` or `.nii.gz` file.

        Slices are taken along the third axis (and the fourth, time) and turned the way radiologists
        look at them: right in the image is the patient's left (or back), down is the patient's back
        (or feet). Brightness is scaled for the volume as a whole: by the display range of its
        header, or else from its 0.5 to its 99.5 percentile; uint8 is unchanged. Vectors of three
        of these are colours.

        Args:
            path: the file.

        Returns:
            The size and number of its slices, and a function that reads them.

        Raises:
            InputError: when nibabel is not installed, or the file does not have 2 to 4 dimensions.

        Source: DICOM PS3.3, C.7.6.2.1.1, for the orientation.
        """
        image = _load(path)
        shape = _shape(image)
        if not 2 <= len(shape) <= 4:
            raise InputError(
                f"{path} is a NIfTI file of shape {shape}; expected two (one slice), three or four "
                "dimensions (width, height, slices, time), or colours of 8 bits as (width, height, "
                "slices, 1, 3)."
            )
        _check_type(path, image.get_data_dtype())
        _check_length(path, image)
        _check_place(path, image)
        volume = _volume(image)
        return ImageSource(
            shape[1],
            shape[0],
            volume.count,
            lambda: _slices(path),
            read_at_once=True,
            labels=lambda: _slices(path, labels=True),
            layout=_layout(image.affine),
            volume=volume,
        )

    def write_masks(
        self, path: Path, masks: Sequence[np.ndarray], reference: DecodedImage | None
    ) -> None:
        """Write one NIfTI file of 0 and 1 with the reference's shape and affine."""
        self._write(path, masks, reference, np.uint8)

    def write_labels(
        self, path: Path, labels: Sequence[np.ndarray], reference: DecodedImage | None
    ) -> None:
        """Write one NIfTI file of numbers with the reference's shape and affine."""
        self._write(path, labels, reference, np.result_type(*labels))

    def _write(self, path, arrays, reference, dtype):
        nibabel = require("nibabel", "Writing NIfTI files")
        assert reference is not None and reference.volume is not None  # see masks_need_volume
        volume = reference.volume
        values = np.zeros(volume.shape, dtype)
        for index, array in zip(slice_indices(volume.shape), arrays, strict=True):
            values[index] = array
        image_class = nibabel.Nifti2Image if volume.version == 2 else nibabel.Nifti1Image
        header = image_class.header_class()
        header.set_data_shape(volume.shape)
        header.set_data_dtype(dtype)
        # A volume of another format has only an affine.
        for name in _GEOMETRY:
            if name in volume.geometry:
                header[name] = volume.geometry[name]
        try:
            image = image_class(values, volume.affine, header)
        except Exception:  # nibabel cannot decompose an affine without voxel sizes.
            image = image_class(values, None, header)  # The header holds the same geometry.
        nibabel.save(image, path)


def _load(path: Path) -> Any:
    """Open a file with nibabel; its content decides whether it is gzipped, not its name."""
    nibabel = require("nibabel", "Reading NIfTI files")
    with path.open("rb") as file:
        gzipped = file.read(2) == _GZIP_SIGNATURE
    if path.name.lower().endswith(".nii.gz" if gzipped else ".nii"):
        return nibabel.load(path)
    # Streamed, because some compressed megabytes may expand to any number of zeros.
    stream: Any = gzip.open(path) if gzipped else path.open("rb")
    second = stream.read(4) in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # A header of 540 bytes.
    stream.seek(0)
    return (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_stream(stream)


def _slices(path: Path, labels: bool = False) -> Iterator[Frame]:
    image = _load(path)
    volume, layout = _volume(image), _layout(image.affine)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    # Unscaled, because scaling a whole volume takes eight bytes per value.
    data = np.asanyarray(image.dataobj.get_unscaled())
    plain = (slope, intercept) == (1, 0)
    meaning = Meaning()
    if len(_shape(image)) < data.ndim:  # Colours as vectors.
        data = data[..., 0, :]
    elif data.dtype.names:  # RGB24 and RGBA32 are structured types.
        data = np.stack([data[name] for name in data.dtype.names[:3]], axis=-1)
        plain = True
    else:
        _check_values(path, data)
        if not labels and not (data.dtype == np.uint8 and plain):
            meaning = _meaning(image.header, data, slope, intercept)
    for index in slice_indices(volume.shape):
        array = data[index] if plain else data[index] * slope + intercept
        yield Frame(layout.apply(array), layout, volume, meaning)


def _shape(image: Any) -> tuple[int, ...]:
    """Return the shape without colours, which ITK (3D Slicer) writes as vectors of three."""
    shape, data = image.shape, image.dataobj
    plain = image.get_data_dtype() == np.uint8 and (data.slope, data.inter) == (1, 0)
    return shape[:3] if plain and shape[3:] == (1, 3) else shape


def _check_length(path: Path, image: Any) -> None:
    """Reject a header that promises more values than the file can hold, before allocating them."""
    there = path.stat().st_size
    with path.open("rb") as file:
        there *= _LARGEST_RATIO if file.read(2) == _GZIP_SIGNATURE else 1
    promised = math.prod(image.shape) * image.get_data_dtype().itemsize
    if promised > there:
        raise InputError(
            f"{path} is damaged or cut short: its header promises {promised:,} bytes of values, "
            f"but the file can hold at most {there:,}. Get a new copy of it."
        )


def _check_place(path: Path, image: Any) -> None:
    """Reject a volume without a valid position in space, because its mask would have none."""
    if not np.isfinite(image.affine).all():
        raise InputError(
            f"{path} has no valid position: its affine holds NaN or infinite numbers. Save it "
            "again with the software that wrote it."
        )


def _volume(image: Any) -> Volume:
    nibabel = require("nibabel", "Reading NIfTI files")
    header = image.header
    affines = (header.get_sform(coded=True)[0], header.get_qform(coded=True)[0])
    return Volume(
        shape=_shape(image),
        affine=image.affine,
        geometry={name: np.array(header[name]) for name in _GEOMETRY},
        version=2 if isinstance(image, nibabel.Nifti2Image) else 1,
        affines=tuple(affine for affine in affines if affine is not None),
    )


def _meaning(header: Any, data: np.ndarray, slope: float, intercept: float) -> Meaning:
    """Return the volume's display range, or the statistics of all its values."""
    low, high = float(header["cal_min"]), float(header["cal_max"])
    usable = low < high and np.isfinite([low, high]).all()
    window = functools.partial(to_unit, low=low, high=high) if usable else None
    whole = None
    if data.dtype.kind in "iu":
        limits = np.iinfo(data.dtype)
        low, high = sorted(value * slope + intercept for value in (limits.min, limits.max))
        whole = (low, high)
    if window is not None:
        return Meaning(window=window, whole=whole, measured=True)
    found = Statistics.of([data], measured=True)
    low, high = sorted(value * slope + intercept for value in (found.low, found.high))
    found = Statistics(low, high, found.largest * slope + intercept, False)
    return Meaning(whole=whole, measured=True, statistics=found)


def _check_type(path, dtype):
    if not dtype.names and dtype.kind not in "iuf":  # RGB types have names.
        raise InputError(
            f"{path} holds values of type {dtype}; expected integers, floating point numbers or "
            "RGB."
        )


def _check_values(path, data):
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise InputError(
            f"{path} holds NaN or infinite values; replace them, for example with 0, and try again."
        )


def _layout(affine: np.ndarray) -> Layout:
    codes = require("nibabel", "Reading NIfTI files").aff2axcodes(affine)
    across, down = codes[0] or "L", codes[1] or "P"
    # Head to feet runs down the image; in an axial slice, front to back runs down.
    swap = not (across in "SI" or (across in "AP" and down in "LR"))
    columns, rows = (across, down) if swap else (down, across)
    return Layout(swap=swap, flip_rows=rows in "RAS", flip_columns=columns in "RAS")


def slice_indices(shape: tuple[int, ...]) -> Iterator[tuple]:
    """Yield the index of every slice in a volume, in the order of the images.

    Args:
        shape: the volume's shape, two to four dimensions.

    Example:
        >>> list(slice_indices((5, 4, 2)))
        [(slice(None, None, None), slice(None, None, None), 0), (slice(None, None, None), slice(None, None, None), 1)]
    """  # noqa: E501
    # The last axis (time) varies slowest, so that one volume after another is read.
    for rest in np.ndindex(shape[2:][::-1]):
        yield (slice(None), slice(None), *rest[::-1])
