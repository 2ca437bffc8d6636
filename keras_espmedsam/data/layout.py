"""The orientation of stored pixels: turn an image upright, and its mask back."""

import dataclasses

import numpy as np

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
    """A transform that turns stored pixels upright, and a mask back.

    The axes are swapped first, then the rows and columns are flipped. This covers the eight
    orientations of EXIF, and those of a slice in a volume.

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

    Source: EXIF 2.3, tag 0x0112.
    """

    swap: bool = False
    flip_rows: bool = False
    flip_columns: bool = False

    @classmethod
    def from_exif(cls, orientation: int) -> "Layout":
        """Return the layout of an EXIF orientation 1 to 8; other numbers count as 1 (upright)."""
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
        """Turn an upright array, `(h, w)` or `(h, w, channels)`, back to the stored orientation."""
        array = self._flip(array)
        return array.swapaxes(0, 1) if self.swap else array

    def _flip(self, array):
        return array[:: -1 if self.flip_rows else 1, :: -1 if self.flip_columns else 1]


UPRIGHT = Layout()
"""The layout of an image that is stored upright."""
