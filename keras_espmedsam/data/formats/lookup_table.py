"""Look-up tables of DICOM: palettes, VOI and modality LUTs.

pydicom's functions wrap indices around in tables of 8-bit entries with more than 256 of them, take
the words of big-endian files for little-endian ones, and need values that are not rescaled.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class LookupTable:
    """A table that gives each value another.

    Args:
        first: the value that gets the table's first entry; what is below gets it too, and what is
            behind the last gets that.
        entries: integers.
        bits: how many bits an entry has.

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
            descriptor: number of entries (0 for 65,536), first value and bits per entry.
            data: bytes, of one or two for an entry, or a sequence of integers.
            little_endian: whether the file is.

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
        # Tables of 12 bits are often said to have 16, and those of 8 to be of words.
        used = int(entries.max()).bit_length()
        if used > bits or (bits > 12 and used <= 12):
            bits = max(used, 8)
        return cls(first, entries, bits)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """The entries of values of any type and shape."""
        first = self.first
        # A negative value, written as an unsigned one; not where no value can be negative.
        if first > 32767 and values.dtype.kind != "u" and values.size and values.max() < first:
            first -= 65536
        index = np.rint(values).astype(np.int64) - first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]
