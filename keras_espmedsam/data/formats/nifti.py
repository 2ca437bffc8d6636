"""NIfTI volumes: their slices as images, and masks with the same shape and affine."""

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
# Of the lengths before and after: deflate has no way to say more with less.
_LARGEST_RATIO = 1032
# What a mask copies from its volume's header, bit for bit: geometry. Text fields (descrip,
# db_name, ...) and header extensions can hold a patient's name and are left behind.
_GEOMETRY = (
    *("pixdim", "xyzt_units", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z"),
    *("srow_x", "srow_y", "srow_z"),
)


class NiftiFormat(FileFormat):
    """NIfTI-1 and -2 in one file, gzipped or not.

    Source: ours.
    """

    name = "NIfTI"
    suffixes = (".nii", ".nii.gz")
    signatures = ((344, b"n+1\0"), (4, b"n+2\0"))
    image_word = "slice"
    mask_suffixes = (".nii", ".nii.gz")
    masks_need_volume = True
    loggers = ("nibabel.global",)

    def sniff(self, head: bytes, path: Path) -> bool:
        """Whether its header is there, also where it is gzipped."""
        if head[:2] == _GZIP_SIGNATURE:
            try:
                head = zlib.decompressobj(31).decompress(head)
            except zlib.error:
                return False
        return super().sniff(head, path)

    def open(self, path: Path) -> ImageSource:
        """Read the header of a `.nii` or `.nii.gz` file.

        The slices lie along the third axis (and the fourth, time); each is turned the way
        radiologists look at it: to the right of the image is the patient's left (or back), down is
        the patient's back (or feet). A volume's brightness is scaled as a whole: by the display
        range of its header, or else from its 0.5 to its 99.5 percentile; uint8 is taken as it is.

        Args:
            path: the file.

        Returns:
            The size and number of its slices and a function that reads them.

        Raises:
            InputError: when nibabel is not installed, or the file has no image's shape.

        Source: ours; orientation as in DICOM PS3.3, C.7.6.2.1.1.
        """
        image = _load(path)
        shape = image.shape
        if not 2 <= len(shape) <= 4:
            raise InputError(
                f"{path} is a NIfTI file of shape {shape}; expected two (one slice), three or four "
                "dimensions (width, height, slices, time)."
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
        """Write one NIfTI file of the reference's shape and affine.

        Its values are 0 and 1, as usual for label volumes.
        """
        nibabel = require("nibabel", "Writing NIfTI files")
        assert reference is not None and reference.volume is not None  # see masks_need_volume
        volume = reference.volume
        values = np.zeros(volume.shape, np.uint8)
        for index, mask in zip(slice_indices(volume.shape), masks, strict=True):
            values[index] = mask
        image_class = nibabel.Nifti2Image if volume.version == 2 else nibabel.Nifti1Image
        header = image_class.header_class()
        header.set_data_shape(volume.shape)
        header.set_data_dtype(np.uint8)
        # Of a volume of another format the affine alone is known.
        for name in _GEOMETRY:
            if name in volume.geometry:
                header[name] = volume.geometry[name]
        try:
            image = image_class(values, volume.affine, header)
        except Exception:  # An affine without voxel sizes, which nibabel cannot take apart.
            image = image_class(values, None, header)  # The header says the same, bit for bit.
        nibabel.save(image, path)


def _load(path: Path) -> Any:
    """The nibabel image of a file, which decides by the content whether it is gzipped."""
    nibabel = require("nibabel", "Reading NIfTI files")
    with path.open("rb") as file:
        gzipped = file.read(2) == _GZIP_SIGNATURE
    if path.name.lower().endswith(".nii.gz" if gzipped else ".nii"):
        return nibabel.load(path)
    # Not read as a whole: some megabytes may hold any number of zeros, compressed.
    stream: Any = gzip.open(path) if gzipped else path.open("rb")
    second = stream.read(4) in (b"\x1c\x02\0\0", b"\0\0\x02\x1c")  # a header of 540 bytes
    stream.seek(0)
    return (nibabel.Nifti2Image if second else nibabel.Nifti1Image).from_stream(stream)


def _slices(path: Path, labels: bool = False) -> Iterator[Frame]:
    image = _load(path)
    volume, layout = _volume(image), _layout(image.affine)
    slope, intercept = image.dataobj.slope, image.dataobj.inter
    # Unscaled, because scaling a whole volume makes eight bytes of each of its values.
    data = np.asanyarray(image.dataobj.get_unscaled())
    plain = (slope, intercept) == (1, 0)
    meaning = Meaning()
    if data.dtype.names:  # RGB24 and RGBA32 are structured types
        data = np.stack([data[name] for name in data.dtype.names[:3]], axis=-1)
        plain = True
    else:
        _check_values(path, data)
        if not labels and not (data.dtype == np.uint8 and plain):
            meaning = _meaning(image.header, data, slope, intercept)
    for index in slice_indices(volume.shape):
        array = data[index] if plain else data[index] * slope + intercept
        yield Frame(layout.apply(array), layout, volume, meaning)


def _check_length(path: Path, image: Any) -> None:
    """Refuse a file that promises more values than it can hold: room is made for them first."""
    there = path.stat().st_size
    with path.open("rb") as file:
        there *= _LARGEST_RATIO if file.read(2) == _GZIP_SIGNATURE else 1
    promised = math.prod(image.shape) * image.get_data_dtype().itemsize
    if promised > there:
        raise InputError(
            f"{path} is damaged or cut short: its header promises {promised:,} bytes of values, "
            f"and it can hold no more than {there:,}. Get a new copy of it."
        )


def _check_place(path: Path, image: Any) -> None:
    """Refuse a volume whose place in space is none: nobody could tell where its mask lies."""
    if not np.isfinite(image.affine).all():
        raise InputError(
            f"{path} does not say where its voxels lie: its affine holds NaN or infinite numbers. "
            "Save it again with the software that wrote it."
        )


def _volume(image: Any) -> Volume:
    nibabel = require("nibabel", "Reading NIfTI files")
    header = image.header
    affines = (header.get_sform(coded=True)[0], header.get_qform(coded=True)[0])
    return Volume(
        shape=image.shape,
        affine=image.affine,
        geometry={name: np.array(header[name]) for name in _GEOMETRY},
        version=2 if isinstance(image, nibabel.Nifti2Image) else 1,
        affines=tuple(affine for affine in affines if affine is not None),
    )


def _meaning(header: Any, data: np.ndarray, slope: float, intercept: float) -> Meaning:
    """The volume's display range, or the statistics of all of its values."""
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
    if not dtype.names and dtype.kind not in "iuf":  # RGB has names
        raise InputError(
            f"{path} holds values of type {dtype}; expected integers, floating point numbers or "
            "RGB."
        )


def _check_values(path, data):
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise InputError(
            f"{path} holds NaN or infinite values; replace them (with 0, say) and try again."
        )


def _layout(affine: np.ndarray) -> Layout:
    codes = require("nibabel", "Reading NIfTI files").aff2axcodes(affine)
    across, down = codes[0] or "L", codes[1] or "P"
    # Head to feet runs down the image; in an axial slice front to back does.
    swap = not (across in "SI" or (across in "AP" and down in "LR"))
    columns, rows = (across, down) if swap else (down, across)
    return Layout(swap=swap, flip_rows=rows in "RAS", flip_columns=columns in "RAS")


def slice_indices(shape: tuple[int, ...]) -> Iterator[tuple]:
    """The index of every slice in a volume, in the order in which they become images.

    Args:
        shape: the volume's shape, two to four dimensions.

    Example:
        >>> list(slice_indices((5, 4, 2)))
        [(slice(None, None, None), slice(None, None, None), 0), (slice(None, None, None), slice(None, None, None), 1)]
    """  # noqa: E501
    # The last axis (time) varies slowest, so that one volume after another is read.
    for rest in np.ndindex(shape[2:][::-1]):
        yield (slice(None), slice(None), *rest[::-1])
