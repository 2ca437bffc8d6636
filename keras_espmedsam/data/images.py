"""Read images of every supported type, with checks before and after decoding."""

import contextlib
import dataclasses
import errno
import itertools
import numbers
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam._plain_file import no_file
from keras_espmedsam._renamed import old_member
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.formats.file_format import HEAD_BYTES, FileFormat
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.formats.image_source import ImageSource
from keras_espmedsam.data.formats.known_formats import get_format
from keras_espmedsam.data.formats.quiet_libraries import quiet_libraries
from keras_espmedsam.data.formats.time_limit import VARIABLE, TimeLimit, TimeUp, allowed_seconds
from keras_espmedsam.data.formats.unread import READ_INSTEAD
from keras_espmedsam.errors import InputError, InputWarning, NoImageError
from keras_espmedsam.imaging.brightness import needs_statistics, to_brightness
from keras_espmedsam.imaging.intensity import AUTO, Intensity, parse_intensity
from keras_espmedsam.imaging.stored_values import Statistics, without_padding

MAX_PIXELS = 100_000_000
"""The most pixels (height x width) that one image may have by default."""

# A volume is in memory as a whole; four times the default allows 512 x 512 x 1500.
_VOLUME_FACTOR = 4
# Errors of the system rather than the file. On damaged files, libraries raise other numbers, such
# as for a negative offset.
_OF_THE_SYSTEM = {
    *(errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT),
    *(errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENODEV, errno.ELOOP, errno.ENAMETOOLONG),
}


@dataclasses.dataclass(frozen=True)
class ImageFile:
    """A file whose header has been read and checked, but not its pixels.

    Args:
        path: the file.
        source: the contents of its header, and how to decode it.
        format: the file's format.
    """

    path: Path
    source: ImageSource
    format: FileFormat

    @property
    def is_volume(self) -> bool:
        """Whether its images are the slices of a volume with a position in space."""
        return self.source.volume is not None

    @property
    def one_mask_file(self) -> bool:
        """Whether the masks of all its images are written as one file."""
        return bool(self.format.mask_suffixes)

    @property
    def mask_suffix(self) -> str:
        """The suffix of its masks, such as `.png`."""
        return self.format.mask_suffix(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, as stored."""
        return self.source.height, self.source.width

    @property
    def count(self) -> int:
        """The number of images in the file."""
        return self.source.count

    pictures = old_member("pictures", "images")

    def images(
        self, labels: bool = False, intensity: Intensity | None = AUTO
    ) -> Iterator[DecodedImage]:
        """Decode the file's images, one after another.

        Args:
            labels: whether they are masks, whose stored values are returned unchanged.
            intensity: the values shown as black and white: `"auto"`, `"full"` or a pair of values;
                see `keras_espmedsam.imaging.brightness`. None is `"auto"`. The same values are
                used for all images of a file.

        Yields:
            `DecodedImage`, upright: uint8, uint16 that uses its full range, or float32 in [0, 1];
            for a mask, the stored values.

        Raises:
            InputError: when the file is cut or damaged, or its values cannot be used.
        """
        intensity = parse_intensity(intensity) or AUTO
        decode = (labels and self.source.labels) or self.source.frames
        frames, statistics, notice = None, None, None
        for index in range(self.count):
            with quiet_libraries, _explained(self.path), TimeLimit():
                if frames is None:
                    frames = iter(decode())
                frame = next(frames)
                array, meaning = frame.array, frame.meaning
                if not (array.ndim == 2 or array.shape[2:] == (3,)) or not array.size:
                    raise InputError(
                        f"The file format {self.format.name} gave an image of the shape "
                        f"{array.shape} for {self.path}; expected (height, width) or (height, "
                        "width, 3)."
                    )
                if not labels:
                    if (
                        index == 0
                        and self.count > 1
                        and needs_statistics(array, meaning, intensity)
                    ):
                        statistics = self._statistics(meaning.measured)
                    if statistics is not None and meaning.window is None:
                        meaning = dataclasses.replace(meaning, statistics=statistics)
                    array, notice = self._brightness(array, meaning, intensity)
                array = np.ascontiguousarray(array)
            yield DecodedImage(
                array, self.path, index, self.count, frame.layout, frame.volume, notice or ""
            )

    def _statistics(self, measured):
        """Return the statistics over all images, so that they share black and white."""
        values = (
            without_padding(frame.array, frame.meaning)
            for frame in itertools.islice(self.source.frames(), self.count)
        )
        return Statistics.of(values, measured)

    def _brightness(self, array, meaning, intensity):
        try:
            return to_brightness(array, meaning, intensity)
        except InputError as error:
            raise InputError(f"{self.path} cannot be used. {error}") from error


def inspect_image_file(
    path: str | os.PathLike, max_pixels: int = MAX_PIXELS, mask: bool = False
) -> ImageFile:
    """Read and check a file's header, without decoding its pixels.

    Args:
        path: a PNG, JPEG, TIFF, BMP, GIF, PPM, WebP, DICOM or NIfTI file. Its type is taken from
            its content if possible, else from its name.
        max_pixels: the most pixels (height x width) that one image may have.
        mask: whether it is a mask, so that a file without an image, such as a DICOM segmentation,
            is accepted.

    Returns:
        An `ImageFile`.

    Raises:
        InputError: when the file is missing, empty, unreadable or of an unknown type, holds no
            image or too many pixels, or needs a library that is not installed.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.new("L", (6, 4)).save(path)
        >>> inspect_image_file(path).size
        (4, 6)
    """
    check_max_pixels(max_pixels)
    path = Path(path)
    format = _format_of(path)
    with quiet_libraries, _explained(path), TimeLimit():
        source = format.open(path)
        if not isinstance(source, ImageSource):
            raise InputError(
                f"The file format {format.name} opened {path} as {type(source).__name__}; expected "
                "an ImageSource. Fix or remove the package that added it."
            )
    if source.no_image and not (mask and source.serves_as_mask):
        wanted = "a mask of one segment" if mask else "an image"
        sentence = f"{path} holds {source.no_image}, not an image; give {wanted} instead."
        raise NoImageError(sentence, source.no_image)
    pixels = source.height * source.width
    if source.height < 1 or source.width < 1 or source.count < 1:
        raise InputError(f"{path} holds no pixels; give a file with an image.")
    advice = (
        "If you trust the file, raise the limit: --max-pixels on the command line, max_pixels in "
        "Python."
    )
    if pixels > max_pixels:
        raise InputError(
            f"{path} has {source.width} x {source.height} = {pixels:,} pixels; the limit is "
            f"{max_pixels:,}. {advice}"
        )
    if source.read_at_once and pixels * source.count > _VOLUME_FACTOR * max_pixels:
        raise InputError(
            f"{path} has {source.count:,} slices of {source.width} x {source.height}, "
            f"{pixels * source.count:,} voxels; the limit for a volume is "
            f"{_VOLUME_FACTOR * max_pixels:,}, four times that for an image. {advice}"
        )
    return ImageFile(path, source, format)


def check_max_pixels(max_pixels: Any) -> None:
    """Check that a limit of pixels is a number of 1 or more.

    Raises:
        InputError: if it is not.
    """
    if not isinstance(max_pixels, numbers.Real) or not float(max_pixels) >= 1:
        raise InputError(f"Received max_pixels={max_pixels!r}; expected a number of 1 or more.")


def read_images(
    path: str | os.PathLike, max_pixels: int = MAX_PIXELS, intensity: Intensity | None = AUTO
) -> Iterator[DecodedImage]:
    """Read all images of a file: its slices, frames or pages, or the only one.

    The pixels are upright: a JPEG's EXIF orientation is applied, and a NIfTI slice is turned the
    way radiologists look at it. `write_mask` turns a mask back with `DecodedImage.layout`, so that
    it always has the size of the stored image.

    Args:
        path: the file; see `inspect_image_file`.
        max_pixels: the most pixels (height x width) that one image may have, checked before
            anything is decoded.
        intensity: the values shown as black and white: `"auto"`, those that the file declares, or
            else the range of its bits or of its values; `"full"`, the range of its bits; or a pair
            of values. None is `"auto"`.

    Yields:
        `DecodedImage`: `(height, width)` or `(height, width, 3)`, uint8, uint16 that uses its full
        range, or float32 in [0, 1].

    Raises:
        InputError: when the file cannot be used; the message says why.

    Warns:
        InputWarning: when the file does not declare black and white, so that its values decide.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.new("L", (6, 4)).save(path)
        >>> [image.array.shape for image in read_images(path)]
        [(4, 6)]
    """
    file = inspect_image_file(path, max_pixels)
    told = set()
    for image in file.images(intensity=intensity):
        if image.notice not in told:
            told.add(image.notice)
            _warn_of(image)
        yield image


def read_image(
    path: str | os.PathLike, max_pixels: int = MAX_PIXELS, intensity: Intensity | None = AUTO
) -> DecodedImage:
    """Read a file that holds one image.

    Args:
        path: the file; see `inspect_image_file`.
        max_pixels: the most pixels (height x width) that the image may have.
        intensity: the values shown as black and white; see `read_images`.

    Returns:
        `DecodedImage`; see `read_images`.

    Raises:
        InputError: when the file cannot be used, or holds several images.

    Warns:
        InputWarning: see `read_images`.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp()) / "grey.png"
        >>> Image.new("L", (6, 4), 9).save(path)
        >>> int(read_image(path).array[0, 0])
        9
    """
    file = inspect_image_file(path, max_pixels)
    if file.count > 1:
        raise InputError(
            f"{path} holds {file.count} images; expected one. Use read_images for all of them."
        )
    image = next(file.images(intensity=intensity))
    _warn_of(image)
    return image


def _warn_of(image):
    if image.notice:
        warnings.warn(
            f"{image.path}: {image.notice}. To choose them yourself, give intensity='full' or "
            "(low, high).",
            InputWarning,
            stacklevel=3,
        )


def _format_of(path: Path) -> FileFormat:
    try:
        what = no_file(path)
        if what == "a folder":
            os.scandir(path).close()  # Raises for one that cannot be read.
        if what is not None:
            raise InputError(f"{path} is {what}; expected an image file.")
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except FileNotFoundError:
        what = "is a broken link" if os.path.islink(path) else "does not exist"
        raise InputError(f"{path} {what}; check the path.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be the path of a file ({error}).") from error
    if not head:
        raise InputError(f"{path} is empty (0 bytes); expected an image.")
    found = file_kind(path, head)
    if found.unread:
        raise InputError(
            f"{path} is in an unsupported format ({found.unread}); save it as {READ_INSTEAD}."
        )
    return found.format or get_format("raster")


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn any exception of a decoder into an `InputError`."""
    try:
        yield
    except InputError:
        raise
    except TimeUp:
        raise InputError(
            f"Reading {path} was stopped after {allowed_seconds():g} s of computing, more than any "
            "valid file takes. If you trust the file, raise the limit: the environment variable "
            f"{VARIABLE}, in seconds."
        ) from None
    except MemoryError as error:
        raise InputError(f"{path} does not fit into this machine's memory.") from error
    except OSError as error:
        if not path.exists():
            raise InputError(f"{path} was removed or renamed while it was being read.") from error
        if error.errno in _OF_THE_SYSTEM:
            raise InputError(f"{path} cannot be read: {error.strerror}.") from error
        raise _damaged(path, error) from None
    # Decoders raise nearly any exception on damaged files. Its text is left out, also from a
    # traceback, because pydicom may quote the header.
    except Exception as error:
        raise _damaged(path, error) from None


def _damaged(path, error):
    return InputError(
        f"{path} cannot be decoded ({type(error).__name__}): the file is cut short or damaged. Get "
        "a new copy of it."
    )
