"""A decoded image, with what is needed to write its mask back."""

import dataclasses
from pathlib import Path

import numpy as np

from keras_espmedsam.data.file_names import file_stem
from keras_espmedsam.data.formats.volume import Volume
from keras_espmedsam.data.layout import UPRIGHT, Layout


@dataclasses.dataclass(frozen=True)
class DecodedImage:
    """One image, upright and ready to view, with what is needed to write its mask back.

    Args:
        array: `(height, width)` or `(height, width, 3)`, upright: uint8, uint16 that uses its full
            range, or float32 in [0, 1].
        path: the file.
        index: the image's number in the file, from 0.
        count: the number of images in the file (slices, frames or pages).
        layout: how `array` was turned from the stored pixels.
        volume: the geometry of the file's volume, such as NIfTI's; None if it has none.
        notice: how black and white were chosen if the file does not say, as the end of a sentence
            that begins with the file's path; empty otherwise.

    Example:
        >>> image = DecodedImage(np.zeros((4, 6), "uint8"), Path("scan.nii.gz"))
        >>> image.stem, image.size
        ('scan', (4, 6))
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
