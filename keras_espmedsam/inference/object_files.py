"""Write the objects of images: outlines as GeoJSON or COCO JSON, and a table of their areas."""

import os
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam._files import check_writable
from keras_espmedsam._shown import shown_value
from keras_espmedsam.data.coco import CocoImage, coco_image, write_coco
from keras_espmedsam.data.formats.file_kind import file_kind
from keras_espmedsam.data.geojson import write_geojson
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.object_counts import count_objects, write_counts
from keras_espmedsam.errors import InputError, did_you_mean
from keras_espmedsam.inference.file_result import FileResult
from keras_espmedsam.inference.result_names import COCO_FILE, ResultNames

POLYGONS = ("geojson", "coco")
"""The formats of outlines: a GeoJSON file for each image, or one COCO file for all."""


class ObjectFiles:
    """Collects and writes the objects of images.

    The objects of a target are those of its label image or, where its objects are not told apart,
    the parts of its mask.

    Args:
        names: names of the result files.
        polygons: one of `POLYGONS`, or None for no outlines.
        counts: path of a CSV table with the number and the areas of each image's objects, or None.

    Raises:
        InputError: for another format, or a path that is a folder.
    """

    def __init__(self, names: ResultNames, polygons: str | None, counts: str | os.PathLike | None):
        if polygons is not None and polygons not in POLYGONS:
            why = did_you_mean(polygons, POLYGONS)
            raise InputError(
                f"Received polygons={shown_value(polygons)}; expected {' or '.join(POLYGONS)}{why}"
            )
        if counts is not None and (not os.fspath(counts) or os.path.isdir(counts)):
            raise InputError(
                f"Received {shown_value(os.fspath(counts))} for the table of counts; expected the "
                "path of a file, such as counts.csv."
            )
        self.polygons = polygons
        self.counts = None if counts is None else Path(counts)
        self._names = names
        self._coco: dict[tuple[Path, int], CocoImage] = {}
        self._rows: dict[tuple[Path, int], list[dict[str, Any]]] = {}

    def at_the_end(self) -> list[Path]:
        """Return the paths of the files that hold the objects of all images."""
        found = [] if self.counts is None else [self.counts]
        return [*found, *([self._names.output / COCO_FILE] if self.polygons == "coco" else [])]

    def of_image(self, file: ImageFile, index: int) -> list[Path]:
        """Return the paths of the files with the objects of one image."""
        geojson = self.polygons == "geojson"
        return [self._names.polygons(file, index, "geojson")] if geojson else []

    def check(self) -> None:
        """Check in advance that the table can be written.

        Raises:
            InputError: when it would replace an image, or its folder cannot be written.
        """
        if self.counts is None:
            return
        if os.path.lexists(self.counts) and file_kind(self.counts).format:
            raise InputError(
                f"The table {self.counts} would replace an image; choose another name."
            )
        try:
            check_writable(self.counts.parent)
        except OSError as error:
            raise InputError(
                f"The table {self.counts} cannot be written: {error.strerror}; give another path."
            ) from error

    def add(self, result: FileResult) -> None:
        """Take the objects of one image, and write its GeoJSON file."""
        file, index = result.file, result.index
        if (self.polygons is None and self.counts is None) or file is None or index is None:
            return
        objects: dict[str, np.ndarray] = {**result.masks, **result.instances}
        modality = result.modality or ""
        key = result.path, index
        if self.counts is not None:
            name = self._names.image(file)
            self._rows[key] = count_objects(name, objects, result.image, modality)
        if self.polygons == "coco":
            name = self._names.image(file, index)
            self._coco[key] = coco_image(name, objects, result.image, modality)
        for path in self.of_image(file, index):
            write_geojson(path, objects, result.image, result.known_targets or result.targets)

    def forget(self, path: Path) -> None:
        """Leave out the images of a file whose results are not written."""
        for held in (self._coco, self._rows):
            for key in [key for key in held if key[0] == path]:
                del held[key]

    def write(self) -> list[Path]:
        """Write the files that hold the objects of all images.

        Returns:
            Their paths.
        """
        if self.counts is not None:
            self.counts.parent.mkdir(parents=True, exist_ok=True)
            write_counts(self.counts, [row for rows in self._rows.values() for row in rows])
        if self.polygons == "coco":
            write_coco(self._names.output / COCO_FILE, self._coco.values())
        return self.at_the_end()
