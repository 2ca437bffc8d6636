"""Segmenting files, one result for each image of each."""

import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from pathlib import Path
from typing import Any

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import (
    MAX_PIXELS,
    ImageFile,
    check_max_pixels,
    inspect_image_file,
)
from keras_espmedsam.errors import InputError, NoImageError, told_otherwise
from keras_espmedsam.imaging.content import BLANK_MASK
from keras_espmedsam.imaging.intensity import AUTO as AUTO_INTENSITY
from keras_espmedsam.imaging.intensity import Intensity, already_read, parse_intensity
from keras_espmedsam.inference.file_result import FileResult
from keras_espmedsam.inference.image_batches import check_batch_size
from keras_espmedsam.inference.image_segmentation import check_threshold
from keras_espmedsam.inference.input_files import expand_inputs
from keras_espmedsam.inference.item_batches import batches
from keras_espmedsam.inference.load_models import load_recognizer, load_segmenter
from keras_espmedsam.inference.modalities import TO_RECOGNIZE, modality_indices, plain_modalities
from keras_espmedsam.inference.recognition import AUTO, Recognition
from keras_espmedsam.inference.recognize_files import FileRecognizer

FilePath = str | os.PathLike | ImageFile
Results = Generator[FileResult, None, None]


def segment_files(
    segmenter: Any,
    paths: FilePath | Iterable[FilePath],
    modality: Any = AUTO,
    *,
    recognizer: Any = None,
    threshold: float = 0.5,
    batch_size: int = 8,
    mirror: bool = False,
    intensity: Intensity | None = None,
    max_pixels: int = MAX_PIXELS,
    precision: str | None = None,
) -> Results:
    """Segment files, and give a result for each of their images as it is done.

    Images are read, recognised and segmented in batches that reach across files; what is held at
    a time is some batches, however many files there are. Results come in the order of `paths`,
    the images of a file in their order in it. A file that cannot be used gives one result with an
    `error` in its place, and the others are done; of a file that is damaged further on, the images
    before that have results too. Nothing is printed or written: see `ResultWriter`.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter` or an `ExportedSegmenter`; or the name, folder or
            address of a preset, or the path of an exported model, which is then loaded first.
        paths: a path, or any number of them, which may be a generator: each is asked for when it
            is needed. A file of any supported type; a folder or a pattern, for which
            `expand_inputs` says what it stands for; or a file that is inspected already
            (`keras_espmedsam.data.inspect_image_file`). A path that is given twice has two
            results.
        modality: `"auto"`, which lets a classifier recognise that of each file (of several images
            in a file, the mean over five decides); a name or index for all; or a list with one of
            these for each of `paths`.
        recognizer: what recognises: a `TiCImageClassifier`, or the name or folder of its preset;
            `None` is `tic_tiny_modality`.
        threshold: in [0, 1]. Probability from which a pixel is foreground.
        batch_size: how many images are recognised or segmented at a time.
        mirror: whether to average with what the mirrored images give, for twice the time.
        intensity: what is black and white: `"auto"`, `"full"` or a pair of values; see
            `keras_espmedsam.data.read_images`. `None` for what the preset says.
        max_pixels: the most pixels (height x width) that one image may have.
        precision: what a segmenter that is named computes in, `"float32"` or `"bfloat16"`; `None`
            is float32, unless Keras' policy is another. What recognises computes in float32.

    Yields:
        `FileResult`: path, index, count, mask, probabilities, modality, confidence, blank,
        notices, image, or the error.

    Raises:
        InputError: at once, for arguments that cannot be used, and for a model that cannot be
            loaded.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> Image.linear_gradient("L").save(folder / "eye.png")
        >>> _ = (folder / "note.png").write_text("no image")
        >>> segmenter = kem.models.ESPMedSAMImageSegmenter.from_preset("espmedsam_nano_256")
        >>> for result in segment_files(segmenter, folder, "fundus"):
        ...     print(result.path.name, result.index, result.modality, result.error is None)
        eye.png 0 fundus True
        note.png None None False

    Source: ours.
    """
    check_threshold(threshold)
    check_batch_size(batch_size)
    check_max_pixels(max_pixels)
    intensity = parse_intensity(intensity)
    if isinstance(paths, FilePath | bytes) or not isinstance(paths, Iterable):
        paths = [paths]
    if isinstance(paths, Sized):
        paths = list(paths)
        for path in paths:
            _check_path(path)
    segmenter = load_segmenter(segmenter, precision)
    known = tuple(segmenter.modalities)
    modality = plain_modalities(modality)
    if isinstance(modality, list):
        paths = list(paths)
        indices = modality_indices(known, modality, len(paths), auto=True)
        needed = TO_RECOGNIZE in indices
        requests: Iterable[tuple[FilePath, int]] = zip(paths, indices, strict=True)
    else:
        (index,) = modality_indices(known, modality, 1, auto=True)
        needed = index == TO_RECOGNIZE
        requests = ((path, index) for path in paths)
    found = FileRecognizer(load_recognizer(recognizer), known, batch_size) if needed else None
    said: Intensity = intensity or getattr(segmenter, "intensity", None) or AUTO_INTENSITY
    options = {"threshold": threshold, "batch_size": batch_size, "mirror": mirror}
    run = _Run(segmenter, known, found, said, max_pixels, batch_size, options)
    return run.results(requests)


def _check_path(path):
    if not isinstance(path, FilePath):
        raise InputError(
            f"Received a path of type {type(path).__name__}; expected the path of a file or "
            "folder, or several. For images in memory use segment()."
        )


@dataclasses.dataclass
class _File:
    """A file on its way."""

    path: Path
    file: ImageFile | None = None
    modality: int = TO_RECOGNIZE
    confidence: float | None = None
    failed: bool = False
    told: bool = False
    blank: int = 0


@dataclasses.dataclass
class _Item:
    """One image of it, or why there is none."""

    of: _File
    index: int | None = None
    image: DecodedImage | None = None
    error: InputError | None = None
    found: tuple | None = None


def _size(item: _Item) -> tuple[int, int] | None:
    return None if item.image is None or item.of.failed else item.image.size


@dataclasses.dataclass
class _Run:
    """The stages that images pass, each with batches of its own: read, recognised, segmented."""

    segmenter: Any
    known: tuple[str, ...]
    recognizer: FileRecognizer | None
    intensity: Intensity
    max_pixels: int
    batch_size: int
    options: dict[str, Any]

    def results(self, requests: Iterable[tuple[FilePath, int]]) -> Results:
        items = self._read(requests)
        if self.recognizer is not None:
            # What is refused leaves no gap in the batches to segment: on JAX each size is compiled.
            items = self._recognized(items)
        for batch in batches(items, self.batch_size, _size):
            self._attempt(self._segment, [item for item in batch if item.image is not None])
            while batch:
                result = self._result(batch.pop(0))
                if result is not None:
                    yield result
                    del result  # Let go before the next is made.

    # === Reading ===

    def _read(self, requests: Iterable[tuple[FilePath, int]]) -> Iterator[_Item]:
        for path, modality in requests:
            _check_path(path)
            for one in self._files(path, int(modality)):
                if isinstance(one, _Item):
                    yield one
                else:
                    yield from self._images(one)

    def _files(self, path: FilePath, modality: int) -> Iterator["_File | _Item"]:
        if isinstance(path, ImageFile):
            yield _File(path.path, path, modality)
            return
        try:
            inputs = expand_inputs([path])
        except InputError as error:
            yield _Item(_File(Path(path)), error=error)
            return
        for one in inputs.files:
            try:
                yield _File(one, inspect_image_file(one, self.max_pixels), modality)
            except InputError as error:
                # A report among the images of a folder is sound, and nobody asked for its mask.
                if not (isinstance(error, NoImageError) and one in inputs.in_folders):
                    yield _Item(_File(one), error=error)

    def _images(self, of: _File) -> Iterator[_Item]:
        file, index = of.file, None
        assert file is not None  # One that cannot be read is an item with its error.
        try:
            # Its sample is read first and let go: a volume is not held twice.
            if self.recognizer is not None and of.modality == TO_RECOGNIZE and file.count > 1:
                self._settle(of, self.recognizer.recognize_file(file, self.intensity))
            index = 0
            for image in file.images(intensity=self.intensity):
                if of.failed:
                    return
                yield _Item(of, index, image)
                index += 1
        except InputError as error:
            yield _Item(of, index, error=error)

    # === Recognising ===

    def _recognized(self, items: Iterator[_Item]) -> Iterator[_Item]:
        for batch in batches(items, self.batch_size, _size):
            unknown = [one for one in batch if one.image and one.of.modality == TO_RECOGNIZE]
            self._attempt(self._recognize, unknown)
            # Let go one by one, while the batch to segment grows.
            while batch:
                yield batch.pop(0)

    def _recognize(self, batch: list[_Item]) -> None:
        assert self.recognizer is not None  # Without one, no modality is missing.
        images = [item.image for item in batch if item.image is not None]
        found = self.recognizer.recognize(images)
        for item, recognition in zip(batch, found, strict=True):
            try:
                self._settle(item.of, recognition)
            except InputError as error:
                self._fail(item, error)

    def _settle(self, of: _File, recognition: Recognition) -> None:
        if recognition.refusal:
            raise InputError(
                f"{of.path} {recognition.refusal}. Give the modality if you know it: --modality "
                "on the command line, modality in Python."
            )
        of.modality = self.known.index(recognition.modality)
        of.confidence = recognition.confidence

    # === Segmenting ===

    def _segment(self, batch: list[_Item]) -> None:
        with told_otherwise():  # A result says it, with its file's name.
            found = self.segmenter.segment(
                [item.image.array for item in batch if item.image is not None],
                [self.known[item.of.modality] for item in batch],
                **self.options,
                **already_read(self.segmenter),
            )
        # A segmenter of one's own may give masks alone.
        blank = found.get("blank", [False] * len(batch))
        probabilities = found.get("probabilities", [None] * len(batch))
        counts = {len(found["masks"]), len(probabilities), len(blank)}
        if counts != {len(batch)}:
            raise InputError(
                f"The segmenter {type(self.segmenter).__name__} gave {len(found['masks'])} masks, "
                f"{len(probabilities)} maps of probabilities and {len(blank)} marks of blank "
                f"images for {len(batch)} images; expected one each."
            )
        rows = zip(found["masks"], probabilities, blank, strict=True)
        for item, row in zip(batch, rows, strict=True):
            item.found = row

    def _attempt(self, function: Callable[[list[_Item]], None], batch: list[_Item]) -> None:
        batch = [item for item in batch if not item.of.failed]
        if not batch:
            return
        try:
            function(batch)
        except InputError as error:
            if len(batch) == 1:
                self._fail(batch[0], InputError(f"{batch[0].of.path}: {error}"))
            else:  # One of them is to blame: the others are done without it.
                for one in batch:
                    self._attempt(function, [one])

    def _fail(self, item: _Item, error: InputError) -> None:
        item.error, item.image = error, None
        item.of.failed = True

    def _result(self, item: _Item) -> FileResult | None:
        of = item.of
        count = 0 if of.file is None else of.file.count
        if of.told:
            return None
        if item.error is not None:
            of.failed = of.told = True
            _let_go(item.error)
            return FileResult(of.path, item.index, count, error=item.error, file=of.file)
        # What has no error was segmented.
        assert item.found is not None and item.image is not None and item.index is not None
        mask, probabilities, blank = item.found
        of.blank += bool(blank)
        notices = [item.image.notice] if item.index == 0 and item.image.notice else []
        if of.blank == count == item.index + 1:
            notices.append(BLANK_MASK)
        return FileResult(
            of.path,
            item.index,
            count,
            mask,
            probabilities,
            self.known[of.modality],
            of.confidence,
            bool(blank),
            tuple(notices),
            item.image,
            file=of.file,
        )


def _let_go(error: BaseException | None) -> None:
    """Take its frames from an exception, which hold a batch of images for as long as it is kept."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
