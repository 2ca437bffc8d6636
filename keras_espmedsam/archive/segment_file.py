"""Segment single files, as they come."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from keras_espmedsam.data.images import inspect_image_file
from keras_espmedsam.dicom import report_uid, segmentation_uid
from keras_espmedsam.inference import DicomOptions, ResultWriter, segment_files
from keras_espmedsam.inference.chosen_targets import choose_targets, target_set_of


class FileSegmenter:
    """Segments files one by one and writes their results, as `espmedsam segment` does.

    Args:
        segmenter: the segmenter.
        recognizer: the recogniser of modalities, or None if none is needed.
        modality: the modality of all files, or None for the recogniser's.
        dicom: which DICOM objects are written; None for none.
        options: more arguments of `segment_files`.

    Raises:
        InputError: for a target that no modality has.
    """

    def __init__(
        self,
        segmenter: Any,
        recognizer: Any = None,
        modality: str | None = None,
        dicom: DicomOptions | None = None,
        options: Mapping[str, Any] | None = None,
    ):
        self.dicom = dicom
        self._segmenter = segmenter
        self._options = {**(options or {}), "modality": modality, "recognizer": recognizer}
        known = target_set_of(segmenter)
        wanted: Sequence[str] | None = self._options.get("targets")
        self._possible = [
            (one, choose_targets(known, one, wanted).names)
            for one in ([modality] if modality in known.modalities else known.modalities)
            if wanted is None or set(wanted) & set(known.of(one))
        ]

    def segment(self, path: Path, output: str | os.PathLike, overwrite: bool = False) -> list[Path]:
        """Segment a file, and write its results.

        Returns:
            The paths of what was written.

        Raises:
            InputError: when the file, or one of its images, cannot be segmented or written.
            NoImageError: for a file that is valid but holds no image.
        """
        writer = ResultWriter(output, path, overwrite=overwrite, dicom=self.dicom)
        file = inspect_image_file(path)
        writer.check([file], target_set_of(self._segmenter))
        written: list[Path] = []
        for result in segment_files(self._segmenter, [file], **self._options):
            if result.error is not None:
                raise result.error
            written += writer.write(result)
        return written

    def is_done(self, image: str, known: set[str]) -> bool:
        """Return whether an archive has the results of an image, whatever its modality is.

        Args:
            image: the image's SOP Instance UID.
            known: the UIDs of the objects in the archive.
        """
        if self.dicom is None:
            return False
        model, report = self.dicom.model, self.dicom.report
        uids = (
            segmentation_uid(model, image, modality, names, self.dicom.probabilities)
            for modality, names in self._possible
        )
        return any(uid in known and (not report or report_uid(model, uid) in known) for uid in uids)
