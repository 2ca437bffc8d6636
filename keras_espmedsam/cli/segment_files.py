"""Segmenting many files in batches, and writing their results."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam.data.masks import write_mask
from keras_espmedsam.data.overlay import write_overlay
from keras_espmedsam.data.picture import Picture, is_gzipped_nifti
from keras_espmedsam.data.pictures import PictureFile
from keras_espmedsam.errors import InputError

# A batch ends early when its pictures are large: what is held at a time stays below some GB.
_BATCH_PIXELS = 64_000_000


@dataclasses.dataclass
class Job:
    """One input file and the names of its results.

    Args:
        file: the input, its header read.
        name: the first part of the results' names, of the input's stem only.
        output: the folder for the results.
        overlay: whether overlays are written too.

    Source: ours.
    """

    file: PictureFile
    name: str
    output: Path
    overlay: bool
    _masks: list[np.ndarray] = dataclasses.field(default_factory=list)
    _done: int = 0

    def mask_path(self, index: int) -> Path:
        """Where the mask of picture `index` goes; of a NIfTI file all go to one."""
        if self.file.is_volume:
            suffix = ".nii.gz" if is_gzipped_nifti(self.file.path) else ".nii"
            return self.output / f"{self.name}_mask{suffix}"
        return self.output / f"{self.name}{self._number(index)}_mask.png"

    def overlay_path(self, index: int) -> Path:
        """Where the overlay of picture `index` goes."""
        return self.output / f"{self.name}{self._number(index)}_overlay.png"

    def mask_paths(self) -> list[Path]:
        """The masks that will be written."""
        return [self.mask_path(i) for i in range(1 if self.file.is_volume else self.file.count)]

    def paths(self) -> list[Path]:
        """All files that will be written."""
        overlays = range(self.file.count if self.overlay else 0)
        return [*self.mask_paths(), *(self.overlay_path(index) for index in overlays)]

    def write(self, picture: Picture, mask: np.ndarray) -> bool:
        """Write the results of one picture; true when they were the file's last."""
        self._done += 1
        finished = self._done == picture.count
        if self.overlay:
            write_overlay(self.overlay_path(picture.index), picture.array, mask)
        if not self.file.is_volume:
            write_mask(self.mask_path(picture.index), mask, picture)
            return finished
        self._masks.append(np.asarray(mask, bool))
        if finished:
            write_mask(self.mask_path(0), self._masks, picture)
            self._masks = []
        return finished

    def _number(self, index: int) -> str:
        if self.file.count == 1:
            return ""
        what = "slice" if self.file.is_volume else "frame"
        return f"_{what}{index + 1:0{len(str(self.file.count))}}"


def segment_files(
    segmenter: Any,
    jobs: Sequence[Job],
    modality: str,
    threshold: float,
    batch_size: int,
    on_failure: Callable[[Job, Exception], None],
    progress: Callable[[int], None],
) -> list[Job]:
    """Segment files in batches that reach across files, and write the results as they come.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, or an object with its `segment`.
        jobs: the files.
        modality: the modality of all of them.
        threshold: foreground is a probability of at least this.
        batch_size: how many pictures are segmented at a time.
        on_failure: called once for a file that cannot be done; the others are.
        progress: called with the number of pictures done or given up.

    Returns:
        The jobs that were completed.

    Source: ours.
    """
    failed: set[int] = set()
    completed: list[Job] = []

    def fail(job: Job, error: Exception) -> None:
        if id(job) not in failed:
            failed.add(id(job))
            on_failure(job, error)
            progress(job.file.count - job._done)

    def pictures() -> Iterator[tuple[Job, Picture]]:
        for job in jobs:
            try:
                for picture in job.file.pictures():
                    if id(job) in failed:
                        break
                    yield job, picture
            except InputError as error:
                fail(job, error)

    def run(batch: list[tuple[Job, Picture]]) -> None:
        batch = [(job, picture) for job, picture in batch if id(job) not in failed]
        if not batch:
            return
        try:
            masks = segmenter.segment(
                [picture.array for _, picture in batch],
                [modality] * len(batch),
                threshold=threshold,
                batch_size=batch_size,
            )["masks"]
        except InputError as error:
            if len(batch) == 1:
                fail(batch[0][0], InputError(f"{batch[0][1].path}: {error}"))
            else:  # one of them is to blame: the others are done without it
                for one in batch:
                    run([one])
            return
        for (job, picture), mask in zip(batch, masks, strict=True):
            if id(job) in failed:
                continue
            try:
                if job.write(picture, mask):
                    completed.append(job)
                progress(1)
            except (OSError, InputError) as error:
                reason = getattr(error, "strerror", None) or error
                fail(job, InputError(f"The result of {picture.path} cannot be written: {reason}."))

    for batch in _batches(pictures(), batch_size):
        run(batch)
    return completed


def _batches(pictures, batch_size):
    batch, pixels = [], 0
    for job, picture in pictures:
        batch.append((job, picture))
        pixels += picture.size[0] * picture.size[1]
        if len(batch) == batch_size or pixels >= _BATCH_PIXELS:
            yield batch
            batch, pixels = [], 0
    if batch:
        yield batch
