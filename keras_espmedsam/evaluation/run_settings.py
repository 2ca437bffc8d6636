"""What two evaluations must have in common for one to go on where the other stopped."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import keras_espmedsam
from keras_espmedsam._startup import choose_backend
from keras_espmedsam.data.record import Record

# What of a preset's image converter changes what is measured.
_CONVERTER = ("image_size", "resize_mode", "normalization", "intensity")


def run_settings(segmenter: Any, records: Sequence[Record], **options: Any) -> dict[str, Any]:
    """All that the measures of an image depend on, except the files themselves.

    Args:
        segmenter: as for `evaluate`.
        records: as for `evaluate`.
        **options: those of its arguments that change what is measured.

    Returns:
        Names to values that JSON can hold; weights and images as checksums.

    Source: ours.
    """
    rows = [_row(record) for record in records]
    return {
        **options,
        "backend": choose_backend(),
        "version": keras_espmedsam.__version__,
        "segmenter": _segmenter_checksum(segmenter),
        "images": _checksum(json.dumps(rows).encode()),
    }


def record_files(record: Record) -> list[Path]:
    """The files that an image is measured by: its own and those of its masks.

    Args:
        record: one with a mask; without, it is its image alone.

    Example:
        >>> record = Record("test", "xray", "lungs", Path("1.png"), Path("2.png"))
        >>> [path.name for path in record_files(record)]
        ['1.png', '2.png']

    Source: ours.
    """
    files = (record.image, record.mask, *record.other_masks)
    return [file for file in files if file is not None]


def _row(record):
    """All that a record says of its image; its group tells nothing about how it is measured."""
    row = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    for name in ("group", "image", "mask", "other_masks"):
        del row[name]
    return {**row, "files": [os.path.abspath(path) for path in record_files(record)]}


def _segmenter_checksum(segmenter):
    """Of what it computes with: its weights and the size it works at, or its description."""
    # An artefact's: the checksums of its files are in it.
    values = [getattr(segmenter, "description", None)]
    converter = getattr(getattr(segmenter, "preprocessor", None), "image_converter", None)
    # Not its whole configuration: Keras imports TensorFlow to write that, on any backend.
    values.append({name: getattr(converter, name, None) for name in _CONVERTER})
    text = json.dumps(values, sort_keys=True, default=lambda value: type(value).__name__)
    weights = segmenter.get_weights() if hasattr(segmenter, "get_weights") else []
    return _checksum(text.encode(), *(np.ascontiguousarray(weight).tobytes() for weight in weights))


def _checksum(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
