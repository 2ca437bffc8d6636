"""The position of a volume in space, to write it to a mask and to compare two volumes."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Volume:
    """The geometry of a volume, without any text of the header.

    Args:
        shape: the file's shape, such as `(width, height, slices)`.
        affine: `(4, 4)` matrix from voxels to millimetres; x points to the patient's right, y to
            the front, z to the head.
        geometry: numbers of the header by name, which are copied to masks.
        version: version of the format, 1 or 2 for NIfTI.
        affines: the affines in the header, such as sform and qform; `affine` is the first. None if
            there is only `affine`; empty if the header does not give a position, so that `affine`
            only holds the voxel sizes.

    Example:
        >>> Volume((5, 4, 3, 2), np.eye(4)).count
        6
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    geometry: dict[str, Any] = dataclasses.field(default_factory=dict)
    version: int = 1
    affines: tuple[np.ndarray, ...] | None = None

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """The affines that may place it in space; empty if the header does not give any."""
        return (self.affine,) if self.affines is None else self.affines

    @property
    def count(self) -> int:
        """The number of its slices."""
        return int(np.prod(self.shape[2:], dtype=np.int64))
