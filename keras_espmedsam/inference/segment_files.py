"""Segmenting many files in batches, and writing their results."""

import dataclasses
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import ImageFile, Intensity
from keras_espmedsam.data.masks import write_mask
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.imaging.intensity import AUTO, already_read
from keras_espmedsam.imaging.overlay import write_overlay
from keras_espmedsam.inference.item_batches import batches
from keras_espmedsam.inference.recognition import Recognition
from keras_espmedsam.inference.recognize_files import FileRecognizer


@dataclasses.dataclass
class Job:
    """One input file and the names of its results.

    Args:
        file: the input, its header read.
        name: the first part of the results' names, of the input's stem only.
        output: the folder for the results.
        overlay: whether overlays are written too.
        modality: what its images are; None until it has been recognised.

    Source: ours.
    """

    file: ImageFile
    name: str
    output: Path
    overlay: bool
    modality: str | None = None
    _masks: list[np.ndarray] = dataclasses.field(default_factory=list)
    _done: int = 0
    _blank: int = 0

    def mask_path(self, index: int) -> Path:
        """Where the mask of image `index` goes; of a NIfTI file all go to one."""
        number = "" if self.file.one_mask_file else self._number(index)
        return self.output / f"{self.name}{number}_mask{self.file.mask_suffix}"

    def overlay_path(self, index: int) -> Path:
        """Where the overlay of image `index` goes."""
        return self.output / f"{self.name}{self._number(index)}_overlay.png"

    def mask_paths(self) -> list[Path]:
        """The masks that will be written."""
        return [self.mask_path(i) for i in range(1 if self.file.one_mask_file else self.file.count)]

    def paths(self) -> list[Path]:
        """All files that will be written."""
        overlays = range(self.file.count if self.overlay else 0)
        return [*self.mask_paths(), *(self.overlay_path(index) for index in overlays)]

    def write(self, image: DecodedImage, mask: np.ndarray) -> bool:
        """Write the results of one image; true when they were the file's last."""
        self._done += 1
        finished = self._done == image.count
        if self.overlay:
            write_overlay(self.overlay_path(image.index), image.array, mask)
        if not self.file.one_mask_file:
            write_mask(self.mask_path(image.index), mask, image)
            return finished
        self._masks.append(np.asarray(mask, bool))
        if finished:
            write_mask(self.mask_path(0), self._masks, image)
            self._masks = []
        return finished

    def _number(self, index: int) -> str:
        if self.file.count == 1:
            return ""
        return f"_{self.file.format.image_word}{index + 1:0{len(str(self.file.count))}}"


_Item = tuple[Job, DecodedImage]


def segment_files(
    segmenter: Any,
    jobs: Sequence[Job],
    threshold: float,
    mirror: bool,
    batch_size: int,
    on_failure: Callable[[Job, Exception], None],
    progress: Callable[[int], None],
    recognizer: FileRecognizer | None = None,
    on_recognition: Callable[[Job, Recognition], None] | None = None,
    intensity: Intensity = AUTO,
    on_notice: Callable[[Job, str], None] | None = None,
) -> list[Job]:
    """Segment files in batches that reach across files, and write the results as they come.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, or an object with its `segment`.
        jobs: the files; those without a modality need a recognizer, which finds it.
        threshold: foreground is a probability of at least this.
        mirror: whether to average with what the mirrored images give.
        batch_size: how many images are recognised or segmented at a time.
        on_failure: called once for a file that cannot be done; the others are.
        progress: called with the number of images done or given up.
        recognizer: finds the modality of a file.
        on_recognition: called once for a file whose modality was recognised.
        intensity: what is black and white; see `read_images`.
        on_notice: called with what is to be said of a file, the end of a sentence that begins with
            it: how black and white were found, or that it shows nothing.

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

    def settle(job: Job, recognition: Recognition) -> None:
        if recognition.refusal:
            sentence = f"{job.file.path} {recognition.refusal}. Give --modality if you know it."
            fail(job, InputError(sentence))
            return
        job.modality = recognition.modality
        if on_recognition:
            on_recognition(job, recognition)

    def notice(job: Job, sentence: str) -> None:
        if on_notice and sentence:
            on_notice(job, sentence)

    def images() -> Iterator[_Item]:
        for job in jobs:
            try:
                # Its sample is read first and let go: a volume is not held twice.
                if job.modality is None and job.file.count > 1:
                    settle(job, recognizer.recognize_file(job.file, intensity))
                if id(job) in failed:
                    continue
                for image in job.file.images(intensity=intensity):
                    if id(job) in failed:
                        break
                    if image.index == 0:
                        notice(job, image.notice)
                    yield job, image
            except InputError as error:
                fail(job, error)

    def recognized(items: Iterator[_Item]) -> Iterator[_Item]:
        for batch in batches(items, batch_size, _size):
            attempt(recognize, [item for item in batch if item[0].modality is None])
            # Let go one by one, while the batch to segment grows.
            while batch:
                item = batch.pop(0)
                if id(item[0]) not in failed:
                    yield item

    def attempt(function: Callable[[list[_Item]], None], batch: list[_Item]) -> None:
        batch = [(job, image) for job, image in batch if id(job) not in failed]
        if not batch:
            return
        try:
            function(batch)
        except InputError as error:
            if len(batch) == 1:
                fail(batch[0][0], InputError(f"{batch[0][1].path}: {error}"))
            else:  # one of them is to blame: the others are done without it
                for one in batch:
                    attempt(function, [one])

    def recognize(batch: list[_Item]) -> None:
        found = recognizer.recognize([image for _, image in batch])
        for (job, _), recognition in zip(batch, found, strict=True):
            settle(job, recognition)

    def segment(batch: list[_Item]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # said below, by the file's name
            results = segmenter.segment(
                [image.array for _, image in batch],
                [job.modality for job, _ in batch],
                threshold=threshold,
                batch_size=batch_size,
                mirror=mirror,
                **already_read(segmenter),
            )
        for (job, image), mask, blank in zip(
            batch, results["masks"], results["blank"], strict=True
        ):
            if id(job) in failed:
                continue
            job._blank += blank
            try:
                if job.write(image, mask):
                    completed.append(job)
                    if job._blank == image.count:
                        notice(
                            job, "it shows nearly one brightness all over, so its mask says nothing"
                        )
                progress(1)
            except (OSError, InputError) as error:
                reason = getattr(error, "strerror", None) or error
                fail(job, InputError(f"The result of {image.path} cannot be written: {reason}."))

    # What is refused leaves no gap in the batches to segment: on JAX each size is compiled.
    items = recognized(images()) if recognizer else images()
    for batch in batches(items, batch_size, _size):
        attempt(segment, batch)
        batch.clear()  # Let go before the next is read.
    return completed


def _size(item: _Item) -> tuple[int, int]:
    return item[1].size
