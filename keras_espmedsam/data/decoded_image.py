"""What an image is once it has been read: its pixels, and how to write a mask back."""

import dataclasses
from pathlib import Path

import numpy as np

from keras_espmedsam.data.file_names import file_stem
from keras_espmedsam.data.formats.volume import Volume
from keras_espmedsam.data.layout import UPRIGHT, Layout


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
        volume: the geometry of the file's volume, such as NIfTI's, otherwise None.
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
    layout: Layout = UPRIGHT
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
