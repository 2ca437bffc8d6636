"""What an image is once it has been read: its pixels, and how to write a mask back."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam.data.formats.file_kinds import file_stem
from keras_espmedsam.imaging.stored_values import Meaning

# EXIF orientation -> (swap the axes, flip the rows, flip the columns), applied in this order.
_EXIF_LAYOUTS = {
    1: (False, False, False),
    2: (False, False, True),
    3: (False, True, True),
    4: (False, True, False),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclasses.dataclass(frozen=True)
class Layout:
    """How the stored pixels were turned to stand upright, and how to turn a mask back.

    The axes are swapped first, then the rows and the columns are flipped: the eight
    orientations of EXIF, and the eight ways in which a slice of a volume can lie.

    Args:
        swap: whether rows and columns are exchanged.
        flip_rows: whether the rows are then reversed (top to bottom).
        flip_columns: whether the columns are then reversed (left to right).

    Example:
        >>> layout = Layout.from_exif(6)
        >>> stored = np.arange(6).reshape(2, 3)
        >>> layout.apply(stored).shape
        (3, 2)
        >>> bool((layout.undo(layout.apply(stored)) == stored).all())
        True

    Source: ours; the numbers are those of EXIF 2.3, tag 0x0112.
    """

    swap: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def from_exif(cls, orientation: int) -> "Layout":
        """The layout of an EXIF orientation 1 to 8; anything else counts as 1 (upright)."""
        return cls(*_EXIF_LAYOUTS.get(orientation, _EXIF_LAYOUTS[1]))

    @property
    def exif(self) -> int:
        """The EXIF orientation (1 to 8) that this layout stands for."""
        key = (self.swap, self.flip_rows, self.flip_columns)
        return next(number for number, layout in _EXIF_LAYOUTS.items() if layout == key)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Turn a stored array, `(h, w)` or `(h, w, channels)`, upright."""
        if self.swap:
            array = array.swapaxes(0, 1)
        return self._flip(array)

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Turn an upright array, `(h, w)` or `(h, w, channels)`, back to how it is stored."""
        array = self._flip(array)
        return array.swapaxes(0, 1) if self.swap else array

    def _flip(self, array):
        return array[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


@dataclasses.dataclass(frozen=True)
class Volume:
    """The geometry of a NIfTI file, which its mask keeps; no text field of the header is held.

    Args:
        shape: the file's shape, such as `(width, height, slices)`.
        affine: `(4, 4)` voxel to world matrix.
        geometry: the numbers of the header that say the same, and voxel sizes and units.
        version: 1 or 2, of the NIfTI format.
        affines: those that the header holds, sform and qform; `affine` is the first of them, or
            made up from the voxel sizes where there is none.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    geometry: dict[str, Any]
    version: int = 1
    affines: tuple[np.ndarray, ...] = ()


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """One image as it should be looked at, and how its mask goes back to the file.

    Args:
        array: `(height, width)` or `(height, width, 3)`: uint8, uint16 that makes use of its range,
            or float32 in [0, 1]; upright.
        path: the file it came from.
        index: its number among the images of that file, from 0.
        count: the number of images in that file (slices, frames or pages).
        layout: how `array` was turned from the stored pixels.
        volume: the geometry of a NIfTI file, otherwise None.
        notice: how black and white were found where nothing tells, as the end of a sentence that
            begins with the file; empty otherwise.

    Example:
        >>> image = DecodedImage(np.zeros((4, 6), "uint8"), Path("scan.nii.gz"))
        >>> image.stem, image.size
        ('scan', (4, 6))

    Source: ours.
    """

    array: np.ndarray
    path: Path
    index: int = 0
    count: int = 1
    layout: Layout = Layout()
    volume: Volume | None = None
    notice: str = ""

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype=dtype, copy=copy)

    @property
    def stem(self) -> str:
        """The file's name without its suffix (`.nii.gz` counts as one)."""
        return file_stem(self.path)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels, upright."""
        return self.array.shape[:2]


class Frame(NamedTuple):
    """One decoded image of a file: upright values, their layout, and what the file says of them."""

    array: np.ndarray
    layout: Layout = Layout()
    volume: Volume | None = None
    meaning: Meaning = Meaning()


@dataclasses.dataclass(frozen=True)
class ImageSource:
    """What a file's header says, and how to decode it.

    Args:
        height: stored height of its images in pixels.
        width: stored width of its images in pixels.
        count: how many images it holds.
        frames: decodes them, one after another.
        labels: does so without what makes them nice to look at (a window, a percentile), where
            `frames` does that: the stored values of a mask.
        read_at_once: whether decoding the first holds all of them in memory.
        no_image: what the pixels are where they are no image, such as the segments of one; empty
            where they are.
        serves_as_mask: whether they serve as a mask.
        layout: how its first image is turned upright.
        volume: the geometry of a NIfTI file, otherwise None.
    """

    height: int
    width: int
    count: int
    frames: Callable[[], Iterator[Frame]]
    read_at_once: bool = False
    labels: Callable[[], Iterator[Frame]] | None = None
    no_image: str = ""
    serves_as_mask: bool = True
    layout: Layout = Layout()
    volume: Volume | None = None
