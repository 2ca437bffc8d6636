"""The place of a volume in space, which a mask keeps and by which two volumes are compared."""

import dataclasses
from typing import Any

import numpy as np


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
