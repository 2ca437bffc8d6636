"""Decode all images of a training set before the first step, to find bad files."""

import concurrent.futures
import contextlib
import dataclasses
import itertools
import os
from collections.abc import Callable, Sequence
from typing import Any

from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.record import Record
from keras_espmedsam.data.samples import inspect_record, target_images
from keras_espmedsam.data.target_channels import TargetChannels
from keras_espmedsam.data.targets import Targets
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
    targets: Targets | None = None,
    overlap: str = "error",
) -> tuple[list[Record], list[tuple[Record, str]]]:
    """Decode every image with its masks, and separate usable records from the others.

    Args:
        records: the records to decode.
        strict: whether a bad file is an error; otherwise it is left out.
        workers: number of threads; by default one per processor core, at most 16.
        keep_empty: whether images with an empty mask are kept.
        scan: False to read only the files' headers, which is many times faster but misses damage
            after the header.
        progress: called with 1 for each finished record.
        max_pixels: the most pixels that one image may have.
        intensity: the values shown as black and white if a record does not set them; see
            `read_images`.
        targets: the model's, to check that the records' targets are among them, and that masks of
            an exclusive group do not overlap and nested ones are inside (up to 1 percent of their
            pixels); None to check each mask alone.
        overlap: what becomes of overlaps in an exclusive group; see `SegmentationDataset`.

    Returns:
        The usable records, one per image (with an `index` for files with several images), and the
        records left out, each with the reason as a sentence.

    Raises:
        InputError: when no record can be used, or with `strict` when one cannot; the message names
            the first ones. Also for `keep_empty=False` without a scan, and for records of targets
            that are not among `targets`.

    Example:
        >>> from pathlib import Path
        >>> check_records([Record("train", "xray", "lungs", Path("missing.png"))], strict=True)
        Traceback (most recent call last):
        keras_espmedsam.errors.InputError: 1 of 1 records cannot be used. missing.png does not \
exist; check the path.
    """
    channels = None if targets is None else TargetChannels(targets, records, overlap)

    def use(record: Record, image: Any, labels: Any) -> None:
        if channels is not None:
            channels.settled(record, labels)

    found, left_out = decode_records(
        records,
        use if scan else None,
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
    use: Callable[[Record, Any, Any], Any] | None,
    strict: bool = False,
    workers: int | None = None,
    keep_empty: bool = True,
    progress: Callable[[int], None] | None = None,
    max_pixels: int = MAX_PIXELS,
    intensity: Intensity | None = None,
    instances: bool = True,
) -> tuple[list[tuple[Record, Any]], list[tuple[Record, str]]]:
    """Like `check_records`, but also keep a result for each image.

    Args:
        use: called in a thread with the record, each of its `DecodedImage` and dict of target to
            `TargetPixels` (empty without masks); its result is kept. None to read only headers.
        instances: False to leave the images of instances unread.

    Returns:
        Pairs of an image's record and the result of `use`; and the records left out.
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
                (one_of(record, image.index, image.count), use(record, image, labels))
                for image, labels in target_images(record, max_pixels, intensity, instances)
                if keep_empty or not is_blank(labels)
            ]
        except InputError as error:
            return [], str(error)
        return kept, None if kept else _empty(record)

    def decode_file(records):
        """Decode a file once for all of its records."""
        found = {}
        # If one image cannot be used, each is decoded separately below.
        with contextlib.suppress(InputError):
            wanted = {record.index for record in records}
            if use is not None and len(records) > 1 and None not in wanted:
                whole = _whole(records[0])
                for image, labels in target_images(whole, max_pixels, intensity, instances):
                    if image.index in wanted and (keep_empty or not is_blank(labels)):
                        found[image.index] = use(whole, image, labels)
        return [
            ([(record, found[record.index])], None) if record.index in found else decode(record)
            for record in records
        ]

    if not records:
        raise InputError("Received no records; choose splits or data sets that have some.")
    if use is None and not keep_empty:
        raise InputError(
            "Received keep_empty=False with scan=False, but only a scan finds empty masks; give "
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


def is_blank(labels: Any) -> bool:
    """Return whether there are masks, and all are empty; of a dict of `TargetPixels`."""
    return bool(labels) and not any(one.mask.any() for one in labels.values())


def _empty(record):
    if len(record.targets) < 2:
        return f"The mask {record.mask} is empty."
    return f"The masks of {record.image} are all empty."


def _whole(record):
    return dataclasses.replace(record, index=None)
