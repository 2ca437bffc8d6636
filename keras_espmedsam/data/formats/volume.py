"""The place of a volume in space, which a mask keeps and by which two volumes are compared."""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Volume:
    """The geometry of a file's volume, which its mask keeps; no text field of the header is held.

    Args:
        shape: the file's shape, such as `(width, height, slices)`.
        affine: `(4, 4)` matrix from voxels to millimetres; x points to the patient's right, y to
            the front, z to the head.
        geometry: numbers of the header by name, which the format's masks repeat.
        version: of the format, 1 or 2 for NIfTI.
        affines: those that the header holds, such as sform and qform, of which `affine` is the
            first. None for `affine` alone; an empty tuple where the header does not say where the
            volume lies, so that `affine` is made up from the voxel sizes.

    Example:
        >>> Volume((5, 4, 3, 2), np.eye(4)).count
        6

    Source: ours.
    """

    shape: tuple[int, ...]
    affine: np.ndarray
    geometry: dict[str, Any] = dataclasses.field(default_factory=dict)
    version: int = 1
    affines: tuple[np.ndarray, ...] | None = None

    @property
    def places(self) -> tuple[np.ndarray, ...]:
        """The matrices by which it may lie in space; none where the header does not say it."""
        return (self.affine,) if self.affines is None else self.affines

    @property
    def count(self) -> int:
        """The number of its slices."""
        return int(np.prod(self.shape[2:], dtype=np.int64))
