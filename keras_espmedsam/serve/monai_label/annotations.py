"""Outlines as the annotations of ASAP, which the plugin for QuPath draws."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.errors import InputError
from keras_espmedsam.imaging.target_colours import target_colours
from keras_espmedsam.serve.monai_label.inference import Inferred
from keras_espmedsam.serve.problems import without_path


@dataclasses.dataclass
class AsapRequest:
    """What is asked about outlines.

    Args:
        location: column and row of the region's first pixel.
        size: its width and height; zeros for the whole image.
        min_area: objects of fewer pixels are left out.
        params: the options.
    """

    location: tuple[int, int] = (0, 0)
    size: tuple[int, int] = (0, 0)
    min_area: float = 0
    params: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(cls, content: dict[str, Any]) -> "AsapRequest":
        """Return a request of its JSON.

        Raises:
            InputError: for values that cannot be used.

        Example:
            >>> AsapRequest.of({"location": [8, 4], "size": [2, 2]}).has_region
            True
        """
        area, params = content.get("min_poly_area") or 0, content.get("params") or {}
        if isinstance(area, bool) or not isinstance(area, int | float):
            raise InputError(
                f"Received min_poly_area={shown_value(area)}; expected a number of pixels."
            )
        if not isinstance(params, dict):
            raise InputError(f"Received params={shown_value(params)}; expected a JSON object.")
        return cls(_pair(content, "location"), _pair(content, "size"), area, params)

    @property
    def has_region(self) -> bool:
        """Whether it is about a part of the image only."""
        return self.size != (0, 0)


def _pair(content, name):
    values = content.get(name) or [0, 0]
    fits = isinstance(values, list) and len(values) == 2
    if not fits or not all(type(one) is int and 0 <= one < 2**31 for one in values):
        raise InputError(
            f"Received {name}={shown_value(values)}; expected two whole numbers from 0."
        )
    return tuple(values)


def cut_region(path: Path, asked: AsapRequest, folder: Path, max_pixels: int) -> Path:
    """Write a region of an image to a file.

    Args:
        path: the image.
        asked: the request.
        folder: an existing folder.
        max_pixels: the most pixels of the image.

    Returns:
        The file.

    Raises:
        InputError: when the region is outside the image, or the image is not of 8 bits.
    """
    try:
        file = inspect_image_file(path, max_pixels)
        if file.count > 1:
            raise InputError(f"{path} holds {file.count} images; expected one to cut a region of.")
        (image,) = file.images()
    except InputError as error:
        raise InputError(without_path(str(error), path)) from None
    stored = image.layout.undo(image.array)
    if stored.dtype != np.uint8:
        raise InputError(
            "Received a region of an image of more than 8 bits; ask for the whole image."
        )
    (x, y), (width, height) = asked.location, asked.size
    part = stored[y : y + height, x : x + width]
    if not part.size:
        raise InputError(
            f"Received a region at {x}, {y} of {width} x {height} pixels, which is outside the "
            f"image of {stored.shape[1]} x {stored.shape[0]}."
        )
    found = folder / "region.png"
    Image.fromarray(np.ascontiguousarray(part)).save(found)
    return found


def annotations_xml(inferred: Inferred, asked: AsapRequest) -> bytes:
    """Return the outlines of an image's objects as XML. Holes are left out: ASAP has none.

    Args:
        inferred: the result, with outlines.
        asked: the request; the outlines are moved by its location.
    """
    root = ElementTree.Element("ASAP_Annotations")
    annotations = ElementTree.SubElement(root, "Annotations")
    dx, dy = asked.location if asked.has_region else (0, 0)
    names = tuple(inferred.params["label_names"])
    colours = {name: "#{:02x}{:02x}{:02x}".format(*c) for name, c in target_colours(names).items()}
    for feature in (one for features in inferred.outlines for one in features):
        name = feature["properties"]["classification"]["name"]
        geometry = feature["geometry"]
        polygons = geometry["coordinates"]
        for rings in [polygons] if geometry["type"] == "Polygon" else polygons:
            corners = rings[0][:-1]  # It ends where it began.
            if _area(corners) < asked.min_area:
                continue
            annotation = ElementTree.SubElement(
                annotations,
                "Annotation",
                Name=name,
                Type="Polygon",
                PartOfGroup=name,
                Color=colours.get(name, "#ff0000"),
            )
            coordinates = ElementTree.SubElement(annotation, "Coordinates")
            for order, (x, y) in enumerate(corners):
                place = {"Order": str(order), "X": str(x + dx), "Y": str(y + dy)}
                ElementTree.SubElement(coordinates, "Coordinate", place)
    groups = ElementTree.SubElement(root, "AnnotationGroups")
    for name in names:
        colour = colours.get(name, "#ff0000")
        ElementTree.SubElement(groups, "Group", Name=name, PartOfGroup="None", Color=colour)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def _area(corners: Sequence[Sequence[float]]) -> float:
    x, y = np.asarray(corners, np.float64).T
    return abs(float(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))) / 2
