"""Decoding all images of a training set before the first step, so that bad files are found."""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import inspect_record, labelled_images
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.intensity import Intensity

_NAMED = 5


def check_records(
    records: Sequence[Record],
    strict: bool = False,
    workers: int | None = None,
    keep_empty: bool = True,
    scan: bool = True,
    progress: Callable[[int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
    intensity: Intensity | None = None,
) -> tuple[list[Record], list[tuple[Record, str]]]:
    """Decode every image with its mask, and tell the records that can be used from the others.

    Args:
        records: what is to be decoded.
        strict: whether any bad file is an error; otherwise it is left out.
        workers: threads; by default one per processor core, 16 at most.
        keep_empty: whether images whose mask is empty are kept.
        scan: False to read the files' headers alone: many times faster, and blind to damage behind
            them.
        progress: called with 1 for each record that is done.
        max_pixels: the most pixels that one image may have.
        intensity: what is black and white where a record does not say it; see `read_images`.

    Returns:
        The records that can be used, one per image: those of a file with several have an
        `index`. And those that were left out, each with the reason, a sentence.

    Raises:
        InputError: when no record can be used, or `strict` and one cannot; it names the first
            ones. For empty masks that are to be found without a scan.

    Example:
        >>> from pathlib import Path
        >>> check_records([Record("train", "xray", "lungs", Path("missing.png"))], strict=True)
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: 1 of 1 records cannot be used. missing.png does not \
exist; check the path.

    Source: ours.
    """
    found, left_out = decode_records(
        records,
        (lambda image, mask: None) if scan else None,
        strict,
        workers,
        keep_empty,
        progress,
        max_pixels,
        intensity,
    )
    return [record for record, _ in found], left_out


def decode_records(
    records: Sequence[Record],
    use: Callable[[Any, Any], Any] | None,
    strict: bool = False,
    workers: int | None = None,
    keep_empty: bool = True,
    progress: Callable[[int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
    intensity: Intensity | None = None,
) -> tuple[list[tuple[Record, Any]], list[tuple[Record, str]]]:
    """`check_records` that keeps something of each image, so that it is decoded once.

    Args:
        use: called with each `DecodedImage` and its mask, in a thread; what it returns is
            kept. None for headers alone.

    Returns:
        Pairs of the record of one image and what `use` returned; and what was left out.

    Source: ours.
    """

    def one_of(record, index, count):
        return dataclasses.replace(record, index=index) if count > 1 else record

    def decode(record):
        try:
            if use is None:
                count = inspect_record(record, max_pixels).count
                indices = range(count) if record.index is None else [record.index]
                return [(one_of(record, index, count), None) for index in indices], None
            kept = [
                (one_of(record, image.index, image.count), use(image, mask))
                for image, mask in labelled_images(record, max_pixels, intensity)
                if keep_empty or mask is None or mask.any()
            ]
        except InputError as error:
            return [], str(error)
        return kept, None if kept else f"The mask {record.mask} is empty."

    def decode_file(records):
        """Images of one file, which is decoded once for all of them."""
        found = {}
        # Where one of them cannot be used, each is looked at by itself.
        with contextlib.suppress(InputError):
            wanted = {record.index for record in records}
            if use is not None and len(records) > 1 and None not in wanted:
                for image, mask in labelled_images(_whole(records[0]), max_pixels, intensity):
                    if image.index in wanted and (keep_empty or mask is None or mask.any()):
                        found[image.index] = use(image, mask)
        return [
            ([(record, found[record.index])], None) if record.index in found else decode(record)
            for record in records
        ]

    if not records:
        raise InputError("Received no records; choose splits or data sets that have some.")
    if use is None and not keep_empty:
        raise InputError(
            "Received keep_empty=False without a scan, which alone finds empty masks; give "
            "scan=True."
        )
    found, left_out = [], []
    pool = concurrent.futures.ThreadPoolExecutor(workers or min(16, os.cpu_count() or 1))
    files = [list(group) for _, group in itertools.groupby(records, _whole)]
    with pool:
        for file, results in zip(files, pool.map(decode_file, files), strict=True):
            for record, (kept, reason) in zip(file, results, strict=True):
                found += kept
                if reason is not None:
                    left_out.append((record, reason))
                if progress:
                    progress(1)
    if left_out and (strict or not found):
        reasons = " ".join(reason for _, reason in left_out[:_NAMED])
        more = f" And {len(left_out) - _NAMED} more." if len(left_out) > _NAMED else ""
        raise InputError(
            f"{len(left_out)} of {len(records)} records cannot be used. {reasons}{more}"
        )
    return found, left_out


def _whole(record):
    return dataclasses.replace(record, index=None)
