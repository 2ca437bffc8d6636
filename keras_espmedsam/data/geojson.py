"""Write the outlines of objects as GeoJSON, for QuPath and other viewers."""

import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_espmedsam._files import atomic_path
from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.stored_masks import checked_numbers, checked_objects, stored_mask
from keras_espmedsam.imaging.polygons import Polygon, object_polygons
from keras_espmedsam.imaging.target_colours import target_colours


def write_geojson(
    path: str | os.PathLike,
    objects: Mapping[str, np.ndarray],
    reference: DecodedImage | None = None,
    targets: Sequence[str] | None = None,
) -> None:
    """Write the outlines of an image's objects as GeoJSON, completely or not at all.

    QuPath opens the file by drag and drop onto the image: each numbered object becomes a
    detection with its number as its name, and each mask an annotation, classified by target and in
    the colour that overlays have. The outlines follow the edges of the pixels, so that drawing
    them gives the same pixels. Coordinates are x and y in pixels from the top left corner of the
    stored image.

    Args:
        path: the file. An existing one is replaced.
        objects: dict of target to `(height, width)`: a label image of integers, 0 for the
            background and a number for each object, or a mask of bool.
        reference: the image that was segmented, whose orientation the outlines get; see
            `keras_espmedsam.data.write_mask`.
        targets: the names of all the modality's targets, which decide about the colours; None for
            those of `objects`.

    Raises:
        InputError: for arrays of another type or shape, of another size than the reference, or
            with negative numbers.

    Example:
        >>> import tempfile
        >>> path = tempfile.mkdtemp() + "/cells.geojson"
        >>> write_geojson(path, {"nuclei": np.array([[1, 1, 0, 2]])})
        >>> features = json.load(open(path))["features"]
        >>> len(features), features[0]["geometry"]["coordinates"]
        (2, [[[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]])

    Source: RFC 7946, for the format; QuPath 0.5, for the properties.
    """
    objects = checked_objects(objects)
    colours = target_colours(tuple(objects if targets is None else targets))
    features = []
    for target, labels in objects.items():
        labels, _ = stored_mask(np.asarray(labels), reference, "label image")
        numbered = labels.dtype != bool
        for number, polygons in object_polygons(checked_numbers(labels)).items():
            classification: dict[str, Any] = {"name": target}
            if target in colours:
                classification["color"] = list(colours[target])
            properties: dict[str, Any] = {
                "objectType": "detection" if numbered else "annotation",
                "classification": classification,
            }
            if numbered:
                properties["name"] = str(number)
            features.append(
                {"type": "Feature", "geometry": _geometry(polygons), "properties": properties}
            )
    with atomic_path(path) as temporary:
        # A feature per line: readable, and without a second copy of a large file in memory.
        with temporary.open("w", encoding="utf-8") as file:
            file.write('{"type": "FeatureCollection", "features": [')
            for number, feature in enumerate(features):
                file.write("," * (number > 0) + "\n" + json.dumps(feature))
            file.write("\n]}\n")


def _geometry(polygons: Sequence[Polygon]) -> dict[str, Any]:
    coordinates = [
        [[list(corner) for corner in (*ring, ring[0])] for ring in (one.outline, *one.holes)]
        for one in polygons
    ]
    if len(coordinates) == 1:
        return {"type": "Polygon", "coordinates": coordinates[0]}
    return {"type": "MultiPolygon", "coordinates": coordinates}
