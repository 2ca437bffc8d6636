"""DICOM look-up tables: palettes, VOI LUTs and modality LUTs.

pydicom's functions wrap indices in 8-bit tables with more than 256 entries, read big-endian words
as little-endian, and need values that are not rescaled.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class LookupTable:
    """A table that maps values to other values.

    Args:
        first: the value that maps to the first entry. Lower values map to the first entry too, and
            values beyond the last entry map to the last.
        entries: integers.
        bits: the number of bits of an entry.

    Source: DICOM PS3.3, C.7.6.3.1.5 and C.11.2.1.1.
    """

    first: int
    entries: np.ndarray
    bits: int

    @property
    def white(self) -> int:
        """The largest value that an entry can have."""
        return 2**self.bits - 1

    @classmethod
    def of(cls, descriptor: Any, data: Any, little_endian: bool) -> "LookupTable":
        """Read a table.

        Args:
            descriptor: number of entries (0 means 65,536), first value and bits per entry.
            data: bytes, one or two per entry, or a sequence of integers.
            little_endian: whether the file is little-endian.

        Raises:
            ValueError: when there are fewer entries than the descriptor says.

        Example:
            >>> table = LookupTable.of([3, -1, 16], bytes([0, 1, 0, 2, 0, 255]), False)
            >>> table(np.array([-9, 0, 9])).tolist(), table.white
            ([1, 2, 255], 255)
        """
        count, first, bits = (int(value) for value in descriptor)
        count = count % 65536 or 65536
        if isinstance(data, bytes):
            wide = len(data) >= 2 * count
            data = np.frombuffer(data, f"{'<' if little_endian else '>'}u2" if wide else "u1")
        entries = np.asarray(data).astype(np.int64)[:count] % 65536
        if len(entries) < count:
            raise ValueError(f"A look-up table of {count} entries holds {len(entries)}.")
        # Headers often declare 16 bits for tables of 12 bits, and words for tables of 8 bits.
        used = int(entries.max()).bit_length()
        if used > bits or (bits > 12 and used <= 12):
            bits = max(used, 8)
        return cls(first, entries, bits)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Look up values of any type and shape."""
        first = self.first
        # A negative `first` was written as unsigned, unless no value can be negative.
        if first > 32767 and values.dtype.kind != "u" and values.size and values.max() < first:
            first -= 65536
        index = np.rint(values).astype(np.int64) - first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]
