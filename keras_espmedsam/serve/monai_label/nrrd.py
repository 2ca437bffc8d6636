"""Write NRRD files, the format in which viewers take a result."""

from pathlib import Path

import numpy as np


def write_nrrd(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an array without compression.

    Args:
        path: the file.
        array: `(columns, rows, slices)` of unsigned integers.
        affine: `(4, 4)` from them to millimetres, x to the right, y to the front, z to the head.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "label.nrrd"
        >>> write_nrrd(path, np.ones((2, 1, 1), "uint8"), np.eye(4))
        >>> path.read_bytes().endswith(bytes([10, 1, 1]))
        True

    Source: Definition of NRRD File Format (teem.sourceforge.net/nrrd/format.html), NRRD0004.
    """
    array = array.astype(array.dtype.newbyteorder("<"))
    axes = " ".join(_vector(affine[:3, axis]) for axis in range(3))
    lines = [
        "NRRD0004",
        f"type: {array.dtype.name}",
        "dimension: 3",
        "space: right-anterior-superior",
        f"sizes: {' '.join(map(str, array.shape))}",
        f"space directions: {axes}",
        "kinds: domain domain domain",
        "endian: little",
        "encoding: raw",
        f"space origin: {_vector(affine[:3, 3])}",
    ]
    header = "\n".join([*lines, "", ""]).encode("ascii")
    path.write_bytes(header + array.tobytes(order="F"))


def _vector(values):
    return f"({','.join(repr(float(one) + 0.0) for one in values)})"  # No minus before zero.
