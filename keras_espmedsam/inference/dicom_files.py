"""Write the results of DICOM images as DICOM objects: segmentations and reports of areas."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from keras_espmedsam._startup import require
from keras_espmedsam.data.images import ImageFile
from keras_espmedsam.data.pixel_spacing import pixel_spacing
from keras_espmedsam.dicom import (
    ModelIdentity,
    dicom_report,
    dicom_segmentation,
    read_source,
    write_dicom_object,
)
from keras_espmedsam.errors import InputError
from keras_espmedsam.inference.file_result import FileResult
from keras_espmedsam.inference.result_names import ResultNames


@dataclasses.dataclass(frozen=True)
class DicomOptions:
    """Which DICOM objects are written.

    They hold what DICOM demands: name, number and birth date of the patient and the identity of
    the study, copied from the image.

    Args:
        model: what makes the masks; see `model_identity`.
        report: whether a report of areas is written too.
        probabilities: whether the segmentation holds probabilities (type FRACTIONAL) instead of
            masks (BINARY).

    Example:
        >>> from keras_espmedsam.inference import model_identity
        >>> options = DicomOptions(model_identity("espmedsam_nano_256"))
        >>> options.model.name, options.model.version
        ('espmedsam_nano_256', '2')
    """

    model: ModelIdentity
    report: bool = False
    probabilities: bool = False


class DicomFiles:
    """Collects the masks of each DICOM image, and writes its objects after its last frame.

    Args:
        names: names of the result files.
        options: which objects are written; None for none.
    """

    def __init__(self, names: ResultNames, options: DicomOptions | None):
        self.options = options
        self._names = names
        # The masks or probabilities of the frames of each file, and the areas of their masks.
        self._frames: dict[Path, list[tuple[np.ndarray, np.ndarray]]] = {}
        if options is not None:
            require("highdicom", "Writing DICOM objects", "dicom")

    def of_file(self, file: ImageFile) -> list[Path]:
        """Return the paths of the objects of a file: the segmentation, then the report."""
        if self.options is None:
            return []
        kinds = ("seg", "sr") if self.options.report else ("seg",)
        return [self._names.dicom_object(file, kind) for kind in kinds]

    def check(self, files: Iterable[ImageFile]) -> None:
        """Check in advance that every file is a DICOM image.

        Raises:
            InputError: for one of another format, which has no patient and no study.
        """
        for file in files if self.options is not None else ():
            if file.format.name != "DICOM":
                raise InputError(
                    f"{file.path} is no DICOM file, so no DICOM object can refer to it; segment it "
                    "without --dicom-seg and --dicom-sr."
                )

    def add(self, result: FileResult) -> list[Path]:
        """Take the masks of one image, and write the objects of its file if it is the last.

        Returns:
            The paths of what was written.

        Raises:
            InputError: when the header does not allow it.
        """
        file, options = result.file, self.options
        if options is None or file is None or result.mask is None or result.image is None:
            return []
        self.check([file])
        held = self._frames.setdefault(result.path, [])
        if not result.index:  # It begins anew.
            held.clear()
        mask = _channels(result.mask, result).astype(bool)
        held.append((_stored(mask, result, options.probabilities), mask.sum(axis=(0, 1))))
        if result.index != result.count - 1:
            return []
        frames, areas = map(np.stack, zip(*self._frames.pop(result.path), strict=True))
        return self._write(result, file, options, frames, areas)

    def _write(
        self,
        result: FileResult,
        file: ImageFile,
        options: DicomOptions,
        frames: np.ndarray,
        areas: np.ndarray,
    ) -> list[Path]:
        assert result.image is not None
        places = self.of_file(file)
        path, targets, modality = result.path, list(result.targets), result.modality or "unknown"
        source = read_source(path)
        made = dicom_segmentation(source, frames, targets, modality, options.model, path)
        write_dicom_object(places[0], made)
        if options.report:
            spacing = pixel_spacing(result.image)
            report = dicom_report(
                source, made, areas, targets, modality, options.model, spacing, path
            )
            write_dicom_object(places[1], report)
        return places

    def forget(self, path: Path) -> None:
        """Leave out a file whose results are not written."""
        self._frames.pop(path, None)


def _stored(mask: np.ndarray, result: FileResult, probabilities: bool) -> np.ndarray:
    if not probabilities:
        return mask
    if result.probabilities is None:
        raise InputError(
            f"The segmenter gave no probabilities for {result.path}; write its masks instead, "
            "without --dicom-probabilities."
        )
    return _channels(result.probabilities, result).astype(np.float16)


def _channels(array: np.ndarray, result: FileResult) -> np.ndarray:
    return np.asarray(array).reshape(*array.shape[:2], len(result.targets))
