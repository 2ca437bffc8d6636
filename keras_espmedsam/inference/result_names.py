"""The names of the files that hold the results of images."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from keras_espmedsam.data.file_names import file_stem
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.label_images import label_suffix
from keras_espmedsam.data.targets import UNNAMED
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.input_files import unique_names

COCO_FILE = "coco.json"
"""The file with the objects of all images, in the output folder."""


class ResultNames:
    """Names the results of files: NAME_mask.png, NAME_vessels_mask.png, NAME_overlay.png and so on.

    NAME is the file's stem, extended if other files have the same one, and by the image's number
    if the file holds several.

    Args:
        output: the folder.
        sources: dict of absolute path to path, of all the files.

    Example:
        >>> ResultNames(Path("out"), {os.path.abspath("eye.png"): Path("eye.png")}).output.name
        'out'
    """

    def __init__(self, output: Path, sources: Mapping[str, Path]):
        self.output = output
        self._names = dict(zip(sources, unique_names(list(sources.values())), strict=True))
        self._root = _common_folder(sources)

    def masks(
        self, file: ImageFile, index: int, targets: Sequence[str], known: Sequence[str]
    ) -> dict[str, Path]:
        """Return the path of each target's mask.

        Args:
            file: the file.
            index: the image's number in it, from 0; of no account if all masks go to one file.
            targets: names of the masks.
            known: names of all targets of the modality. If there is only one, its name is left out.
        """
        start = self._start(file, None if file.one_mask_file else index)
        several = len(known) > 1
        return {
            name: start(f"{f'_{name}' if several else ''}_mask{file.mask_suffix}")
            for name in targets
        }

    def instances(self, file: ImageFile, index: int, target: str, tiff: bool = False) -> Path:
        """Return the path of a target's label image.

        Args:
            file: the file.
            index: the image's number in it, from 0; of no account if all labels go to one file.
            target: name of the target; left out if it has none.
            tiff: whether a PNG file cannot hold the numbers.
        """
        suffix = label_suffix(file)
        start = self._start(file, index if suffix == ".png" else None)
        name = "" if target == UNNAMED else f"_{target}"
        return start(f"{name}_instances{'.tiff' if tiff and suffix == '.png' else suffix}")

    def overlay(self, file: ImageFile, index: int) -> Path:
        """Return the path of an image's overlay."""
        return self._start(file, index)("_overlay.png")

    def polygons(self, file: ImageFile, index: int, format: str) -> Path:
        """Return the path of the file with an image's objects, or of that with all of them."""
        if format == "coco":
            return self.output / COCO_FILE
        return self._start(file, index)("_polygons.geojson")

    def dicom_object(self, file: ImageFile, kind: str) -> Path:
        """Return the path of the DICOM object of a file: `"seg"` or `"sr"`."""
        return self._start(file, None)(f"_{kind}.dcm")

    def image(self, file: ImageFile, index: int | None = None) -> str:
        """Return an image's name in tables: its path below the folder that all files are in.

        Args:
            file: the file.
            index: the image's number in it, from 0, to be added if it holds several.
        """
        path = PurePath(os.path.abspath(file.path))
        if index is not None and file.count > 1:
            stem = file_stem(Path(path))
            path = path.with_name(f"{stem}{_number(file, index)}{path.name[len(stem) :]}")
        return path.relative_to(self._root).as_posix() if self._root else path.name

    def _start(self, file, index):
        name = self._names.get(os.path.abspath(file.path))
        if name is None:
            raise InputError(
                f"Received a result of {file.path}, which is not among the paths given to the "
                "ResultWriter; give it all files, so that each gets a unique name."
            )
        number = "" if index is None else _number(file, index)
        return lambda ending: self.output / f"{name}{number}{ending}"


def _number(file: ImageFile, index: int) -> str:
    if file.count == 1:
        return ""
    return f"_{file.format.image_word}{index + 1:0{len(str(file.count))}}"


def _common_folder(paths):
    try:
        return os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else None
    except ValueError:  # They are on different drives of Windows.
        return None
