"""Segment one file for a viewer: a label map and what else is known about it."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.geojson import write_geojson
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference import FileResult, segment_files
from keras_espmedsam.serve.image_results import check_recognizer
from keras_espmedsam.serve.monai_label.label_maps import (
    LabelMap,
    checked_extension,
    label_values,
    target_numbers,
)
from keras_espmedsam.serve.problems import without_path
from keras_espmedsam.serve.segment_query import SegmentQuery
from keras_espmedsam.serve.served_model import ServedModel
from keras_espmedsam.serve.settings import ServerSettings

ALL = "all"
"""The choice in a viewer's list of targets that stands for all of them."""
OPTIONS = ("modality", "target", "threshold", "guarantee", "mirror", "scales", "postprocess")
"""The parameters of `POST /segment` that a viewer can send."""


@dataclasses.dataclass
class Inferred:
    """The result for a file.

    Args:
        label_map: its label map.
        params: what is answered beside it; `label_names` and `centroids` as MONAI Label names them.
        extension: the suffix of the label map's file.
        outlines: for each image its GeoJSON features, if asked for.
    """

    label_map: LabelMap
    params: dict[str, Any]
    extension: str
    outlines: list[list[dict[str, Any]]] = dataclasses.field(default_factory=list)


def query_of(params: dict[str, Any]) -> SegmentQuery:
    """Return the options in the parameters of a viewer, which has many others.

    Args:
        params: the parameters.

    Raises:
        InputError: for a value that cannot be used.

    Example:
        >>> query_of({"modality": "xray", "target": "all", "device": "cuda"}).modality
        'xray'
    """
    given = {name: params[name] for name in OPTIONS if params.get(name) not in (None, "")}
    target = given.pop("target", ALL)
    if target != ALL:
        given["target"] = [target] if isinstance(target, str) else target
    try:
        query = SegmentQuery.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        name, message = str(first["loc"][0]), str(first["msg"])
        raise InputError(
            f"Received {shown_value(name)}: {shown_value(first.get('input'))} in params; "
            f"{message[:1].lower()}{message[1:]}."
        ) from None
    query.check()
    return query


def infer_file(
    path: Path,
    model: ServedModel,
    segmenter: Any,
    recognizer: Any,
    params: dict[str, Any],
    settings: ServerSettings,
    folder: Path | None = None,
) -> Inferred:
    """Segment the images of a file.

    Args:
        path: the file.
        model: the model.
        segmenter: its segmenter for this request.
        recognizer: its recogniser for this request, or None.
        params: the parameters of a viewer.
        settings: the server's limits.
        folder: a folder for outlines, which are then found too; None for none.

    Raises:
        InputError: for a file or parameters that cannot be used; its message has no path.
    """
    query = query_of(params)
    check_recognizer(segmenter, recognizer, query.modality)
    try:
        return _inferred(path, model, segmenter, recognizer, query, params, settings, folder)
    except InputError as error:
        raise InputError(without_path(str(error), path)) from None


def _inferred(path, model, segmenter, recognizer, query, params, settings, folder):
    targets = model.target_set
    numbers = target_numbers(targets)
    file = inspect_image_file(path, settings.max_pixels)
    extension = checked_extension(params.get("result_extension"), file)
    slices, outlines, images = [], [], []
    for result in segment_files(
        segmenter,
        [file],
        query.modality,
        recognizer=recognizer,
        batch_size=settings.batch_size,
        **query.options(),
    ):
        if result.error is not None:
            raise result.error
        assert result.image is not None  # There was no error.
        inner = targets.nested.get(result.modality, {})
        values = label_values(result.masks, numbers, tuple(inner))
        if params.get("result_dtype") == "uint16":  # The plugin for OHIF reads no other.
            values = values.astype(np.uint16)
        slices.append(result.image.layout.undo(values))
        images.append(_described(result))
        if folder is not None:
            outlines.append(_outlines(result, folder))
    assert result.image is not None  # A file has an image.
    label_map = LabelMap(slices, result.image)
    return Inferred(
        label_map,
        {
            "model": model.name,
            "label_names": numbers,
            "centroids": label_map.centroids(numbers),
            "modality": result.modality,
            "confidence": result.confidence,
            "images": images,
        },
        extension,
        outlines,
    )


def _described(result: FileResult) -> dict[str, Any]:
    score = result.scope_score
    return {
        "blank": result.blank,
        "in_scope": result.in_scope,
        "scope_score": None if score is None else float(score),
        "predicted_dice": {name: float(value) for name, value in result.quality.items()},
        "notices": list(result.notices),
    }


def _outlines(result: FileResult, folder: Path) -> list[dict[str, Any]]:
    path = folder / "outlines.geojson"
    objects = {**result.masks, **result.instances}
    write_geojson(path, objects, result.image, result.known_targets or result.targets)
    return json.loads(path.read_text(encoding="utf-8"))["features"]
