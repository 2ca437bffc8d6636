"""Limit the scans of a progressive JPEG, because a decoder visits all pixels for each."""

import re
from pathlib import Path

from keras_espmedsam.errors import InputError

# Encoders write about ten; more than a hundred cannot refine anything.
_MOST_SCANS = 100
_START_OF_SCAN, _END = 0xDA, 0xD9
# A marker in a scan's data, except a stuffed 255, a restart and a fill byte.
_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])", re.DOTALL)


def check_scans(path: Path) -> None:
    """Reject a JPEG with more scans than any encoder writes.

    A file of a few hundred bytes can contain so many scans that the decoder runs for hours.

    Args:
        path: a JPEG file.

    Raises:
        InputError: when it has too many scans.

    Source: ITU-T T.81, B.1.1.
    """
    scans = _count(path.read_bytes())
    if scans > _MOST_SCANS:
        raise InputError(
            f"{path} is not a valid file: it is a JPEG with {scans:,} scans; about ten are usual. "
            "Get a new copy of it."
        )


def _count(data: bytes) -> int:
    """Count the scans of the first image; appended data, such as a video, is ignored."""
    scans, place = 0, 2
    while (found := _MARKER.search(data, place)) and found[1][0] != _END:
        scans += found[1][0] == _START_OF_SCAN
        # Each segment stores its length, which includes the two bytes of the length itself.
        place = found.end() + max(2, int.from_bytes(data[found.end() : found.end() + 2], "big"))
    return scans
