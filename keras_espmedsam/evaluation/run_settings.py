"""The settings that must be the same to resume an interrupted evaluation."""

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
from keras_espmedsam.data.targets import Targets

# The settings of a preset's image converter that change the results.
_CONVERTER = ("image_size", "resize_mode", "normalization", "intensity")


def run_settings(segmenter: Any, records: Sequence[Record], **options: Any) -> dict[str, Any]:
    """Return everything that the metrics depend on, except the content of the files.

    Args:
        segmenter: as for `evaluate`.
        records: as for `evaluate`.
        **options: the other arguments of `evaluate` that change the results.

    Returns:
        Names to values that JSON can hold; weights and images as checksums.
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
    """Return the files of a record: the image, its masks and those of its objects.

    Args:
        record: the record.

    Example:
        >>> record = Record("test", "xray", "lungs", Path("1.png"), Path("2.png"))
        >>> [path.name for path in record_files(record)]
        ['1.png', '2.png']
    """
    return list(record.files)


def _row(record):
    """Return the fields of a record that affect its metrics; its group does not."""
    row = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    for name in ("group", "image", "mask", "other_masks", "targets"):
        del row[name]
    if record.targets:
        row["targets"] = [(one.target, one.values, one.table) for one in record.targets]
    return {**row, "files": [os.path.abspath(path) for path in record_files(record)]}


def _segmenter_checksum(segmenter):
    """Return a checksum of its weights and image size, or of an exported model's description."""
    # The description of an exported model contains the checksums of its files.
    values = [getattr(segmenter, "description", None)]
    converter = getattr(getattr(segmenter, "preprocessor", None), "image_converter", None)
    # Not its whole configuration, because Keras imports TensorFlow to serialise it.
    values.append({name: getattr(converter, name, None) for name in _CONVERTER})
    # Only if there are any, to accept logs of earlier versions.
    image_sizes = getattr(converter, "image_sizes", None)
    if image_sizes:
        values.append(image_sizes)
    target_set = getattr(segmenter, "target_set", None)
    if isinstance(target_set, Targets) and not target_set.is_default:
        values.append(target_set.config())
    if getattr(segmenter, "postprocessing", None):
        values.append(segmenter.postprocessing)
    if getattr(segmenter, "probability_calibration", None):
        values.append(segmenter.probability_calibration)
    text = json.dumps(values, sort_keys=True, default=lambda value: type(value).__name__)
    weights = segmenter.get_weights() if hasattr(segmenter, "get_weights") else []
    return _checksum(text.encode(), *(np.ascontiguousarray(weight).tobytes() for weight in weights))


def _checksum(*parts: bytes) -> str:
    found = hashlib.sha256()
    for part in parts:
        found.update(part)
    return found.hexdigest()
