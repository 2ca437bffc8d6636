"""Segment files, with one result per image."""

import dataclasses
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence, Sized
from pathlib import Path
from typing import Any

import numpy as np

from keras_espmedsam.data.decoded_image import DecodedImage
from keras_espmedsam.data.images import (
    MAX_PIXELS,
    ImageFile,
    check_max_pixels,
    inspect_image_file,
)
from keras_espmedsam.data.targets import UNNAMED, Targets
from keras_espmedsam.errors import InputError, NoImageError, told_otherwise
from keras_espmedsam.imaging.content import BLANK_MASK
from keras_espmedsam.imaging.intensity import AUTO as AUTO_INTENSITY
from keras_espmedsam.imaging.intensity import Intensity, already_read, parse_intensity
from keras_espmedsam.inference.chosen_targets import (
    DEFAULT_THRESHOLD,
    Threshold,
    check_used,
    checked_targets,
    choose_targets,
    target_set_of,
    thresholds_of,
)
from keras_espmedsam.inference.file_result import FileResult
from keras_espmedsam.inference.guarantees import check_guarantee, check_guaranteed
from keras_espmedsam.inference.image_batches import check_batch_size
from keras_espmedsam.inference.input_files import expand_inputs
from keras_espmedsam.inference.item_batches import batches
from keras_espmedsam.inference.load_models import load_recognizer, load_segmenter
from keras_espmedsam.inference.modalities import TO_RECOGNIZE, modality_indices, plain_modalities
from keras_espmedsam.inference.recognition import AUTO, Recognition
from keras_espmedsam.inference.recognize_files import FileRecognizer
from keras_espmedsam.inference.scope import is_in_scope, out_of_scope
from keras_espmedsam.inference.test_time import OWN_SIZE, Scales, checked_scales

FilePath = str | os.PathLike | ImageFile
Results = Generator[FileResult, None, None]


def segment_files(
    segmenter: Any,
    paths: FilePath | Iterable[FilePath],
    modality: Any = None,
    *,
    recognizer: Any = None,
    threshold: Threshold = DEFAULT_THRESHOLD,
    batch_size: int = 8,
    mirror: bool = False,
    intensity: Intensity | None = None,
    max_pixels: int = MAX_PIXELS,
    precision: str | None = None,
    targets: str | Sequence[str] | None = None,
    postprocess: bool = True,
    guarantee: str | None = None,
    scales: Scales | None = None,
) -> Results:
    """Segment files, and yield a result for each of their images as soon as it is done.

    Images are read, recognised and segmented in batches across files; only a few batches are in
    memory, however many files there are. Results come in the order of `paths`, and the images of a
    file in their order. A file that cannot be used gives one result with an `error`, and the other
    files are still segmented; if a file is damaged further on, the images before the damage have
    results. Nothing is printed or written; to write masks, use `ResultWriter`.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter` or an `ExportedSegmenter`; or the name, folder or
            address of a preset, or the path of an exported model, which is loaded first.
        paths: a path or several, possibly from a generator, which is read lazily. Each is a file
            of any supported type, a folder or a pattern (see `expand_inputs`), or an `ImageFile`
            from `keras_espmedsam.data.inspect_image_file`. A path that is given twice has two
            results.
        modality: `"auto"`, to let a classifier recognise the modality of each file (by the mean
            over five images if a file has several); a name or index for all; or a list with one of
            these for each of `paths`. `None` is `"auto"` for a segmenter of several modalities; for
            one of a single modality, that one, without a classifier.
        recognizer: the classifier: a `TiCImageClassifier`, or the name or folder of its preset;
            `None` is `tic_tiny_modality`.
        threshold: in [0, 1]. Pixels with at least this probability are foreground. A dict of target
            to threshold gives each its own; 0.5 for those that are not in it.
        batch_size: images per forward pass.
        mirror: whether to average with the result for the mirrored image; takes twice as long.
        intensity: the values shown as black and white: `"auto"`, `"full"` or a pair of values; see
            `keras_espmedsam.data.read_images`. `None` uses the preset's choice.
        max_pixels: the most pixels (height x width) that one image may have.
        precision: the data type that a segmenter given by name computes in, `"float32"` or
            `"bfloat16"`; `None` is Keras' policy, float32 by default. The classifier always
            computes in float32.
        targets: a name or several: only these targets; of each modality, those that it has. `None`
            for all. A file whose modality has none of them gives an error.
        postprocess: whether small objects are removed and holes filled in the masks, if the
            segmenter's `postprocessing` says so.
        guarantee: one of the segmenter's `guarantees` that the masks shall have; see `segment`.
        scales: factors of the model's image size to average over; see `segment`.

    Yields:
        `FileResult`: path, index, count, mask, probabilities, modality, confidence, blank,
        notices, image, targets, instances, quality and scope, or the error.

    Raises:
        InputError: immediately, for arguments that cannot be used or a model that cannot be
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
    """
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
    target_set = target_set_of(segmenter)
    each = thresholds_of(threshold, target_set)
    wanted = checked_targets(targets, target_set)
    modality = plain_modalities(AUTO if modality is None and len(known) > 1 else modality)
    if isinstance(modality, list):
        paths = list(paths)
        indices = modality_indices(known, modality, len(paths), auto=True)
        needed = TO_RECOGNIZE in indices
        requests: Iterable[tuple[FilePath, int]] = zip(paths, indices, strict=True)
    else:
        (index,) = modality_indices(known, modality, 1, auto=True)
        needed = index == TO_RECOGNIZE
        requests = ((path, index) for path in paths)
        indices = np.array([index])
    each_scale = checked_scales(scales, segmenter)
    check_guarantee(guarantee, mirror, each_scale != OWN_SIZE)
    if not needed:
        used = [known[i] for i in indices]
        check_used(wanted, target_set, used)
        check_guaranteed(segmenter, guarantee, used, wanted)
    found = FileRecognizer(load_recognizer(recognizer), known, batch_size) if needed else None
    said: Intensity = intensity or getattr(segmenter, "intensity", None) or AUTO_INTENSITY
    options: dict[str, Any] = {
        # A segmenter without names for its targets may take only a number.
        "threshold": each[UNNAMED] if target_set.is_default else threshold,
        "batch_size": batch_size,
        "mirror": mirror,
        # A custom segmenter need not have this argument.
        **({} if postprocess else {"postprocess": False}),
        **({} if guarantee is None else {"guarantee": guarantee}),
        **({} if each_scale == OWN_SIZE else {"scales": each_scale}),
    }
    run = _Run(segmenter, known, target_set, wanted, found, said, max_pixels, batch_size, options)
    return run.results(requests)


def _check_path(path):
    if not isinstance(path, FilePath):
        raise InputError(
            f"Received a path of type {type(path).__name__}; expected the path of a file or "
            "folder, or several. For images in memory, use segment()."
        )


@dataclasses.dataclass
class _File:
    """A file in progress."""

    path: Path
    file: ImageFile | None = None
    modality: int = TO_RECOGNIZE
    confidence: float | None = None
    failed: bool = False
    told: bool = False
    blank: int = 0
    unlike: int = 0


@dataclasses.dataclass
class _Item:
    """One image of a file, or the error if there is none."""

    of: _File
    index: int | None = None
    image: DecodedImage | None = None
    error: InputError | None = None
    found: tuple | None = None


def _size(item: _Item) -> tuple[int, int] | None:
    return None if item.image is None or item.of.failed else item.image.size


@dataclasses.dataclass
class _Run:
    """The stages of segmentation: read, recognise and segment, each with its own batches."""

    segmenter: Any
    known: tuple[str, ...]
    target_set: Targets
    targets: tuple[str, ...] | None
    recognizer: FileRecognizer | None
    intensity: Intensity
    max_pixels: int
    batch_size: int
    options: dict[str, Any]

    def results(self, requests: Iterable[tuple[FilePath, int]]) -> Results:
        items = self._read(requests)
        if self.recognizer is not None:
            # Before batching, so that rejected images leave no gaps: JAX compiles each batch size.
            items = self._recognized(items)
        for batch in batches(items, self.batch_size, _size):
            self._attempt(self._segment, [item for item in batch if item.image is not None])
            while batch:
                result = self._result(batch.pop(0))
                if result is not None:
                    yield result
                    del result  # Free it before the next is made.

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
                # A file without an image, such as a DICOM report, is skipped in a folder.
                if not (isinstance(error, NoImageError) and one in inputs.in_folders):
                    yield _Item(_File(one), error=error)

    def _images(self, of: _File) -> Iterator[_Item]:
        file, index = of.file, None
        assert file is not None  # A file that cannot be read became an item with an error.
        try:
            # The sample is read first and freed, so that a volume is not in memory twice.
            if self.recognizer is not None and of.modality == TO_RECOGNIZE and file.count > 1:
                self._settle(of, self.recognizer.recognize_file(file, self.intensity))
            index = 0
            for image in file.images(intensity=self.intensity):
                if of.failed:
                    return
                if of.modality != TO_RECOGNIZE:
                    self._check_targets(of)
                yield _Item(of, index, image)
                index += 1
        except InputError as error:
            yield _Item(of, index, error=error)

    # === Recognising ===

    def _recognized(self, items: Iterator[_Item]) -> Iterator[_Item]:
        for batch in batches(items, self.batch_size, _size):
            unknown = [one for one in batch if one.image and one.of.modality == TO_RECOGNIZE]
            self._attempt(self._recognize, unknown)
            # Freed one by one while the batch to segment grows.
            while batch:
                yield batch.pop(0)

    def _recognize(self, batch: list[_Item]) -> None:
        assert self.recognizer is not None  # Otherwise every modality was given.
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
        self._check_targets(of)

    def _check_targets(self, of: _File) -> None:
        try:
            choose_targets(self.target_set, self.known[of.modality], self.targets)
        except InputError as error:
            raise InputError(f"{of.path}: {error}") from error

    # === Segmenting ===

    def _segment(self, batch: list[_Item]) -> None:
        modalities = [self.known[item.of.modality] for item in batch]
        chosen = [choose_targets(self.target_set, one, self.targets) for one in modalities]
        options = dict(self.options)
        if self.targets is not None and not self.target_set.is_default:
            there = {name for one in chosen for name in one.names}
            options["targets"] = [name for name in self.targets if name in there]
        with told_otherwise():  # The result carries these notices, with the file's name.
            found = self.segmenter.segment(
                [item.image.array for item in batch if item.image is not None],
                modalities,
                **options,
                **already_read(self.segmenter),
            )
        # A custom segmenter may return only masks.
        blank = found.get("blank", [False] * len(batch))
        probabilities = found.get("probabilities", [None] * len(batch))
        targets = found.get("targets", [one.names for one in chosen])
        instances = found.get("instances", [{}] * len(batch))
        quality = found.get("quality", [{}] * len(batch))
        scope = found.get("scope_score", [None] * len(batch))
        counts = {len(found["masks"]), len(probabilities), len(blank)}
        if counts | {len(targets), len(instances), len(quality), len(scope)} != {len(batch)}:
            raise InputError(
                f"The segmenter {type(self.segmenter).__name__} returned {len(found['masks'])} "
                f"masks, {len(probabilities)} probability maps and {len(blank)} entries of 'blank' "
                f"for {len(batch)} images; expected one of each per image."
            )
        columns = found["masks"], probabilities, blank, targets, instances, quality, scope
        for item, row in zip(batch, zip(*columns, strict=True), strict=True):
            mask, names = np.asarray(row[0]), tuple(row[3])
            if (mask.shape[2:] or (1,)) != (len(names),):
                raise InputError(
                    f"The segmenter {type(self.segmenter).__name__} returned a mask of shape "
                    f"{mask.shape} for the targets {', '.join(names)}; expected (height, width), "
                    "or (height, width, targets) with one for each."
                )
            item.found = (*row[:3], names, *row[4:])

    def _attempt(self, function: Callable[[list[_Item]], None], batch: list[_Item]) -> None:
        batch = [item for item in batch if not item.of.failed]
        if not batch:
            return
        try:
            function(batch)
        except InputError as error:
            if len(batch) == 1:
                self._fail(batch[0], InputError(f"{batch[0].of.path}: {error}"))
            else:  # One image is at fault; try each on its own.
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
        # Items without an error were segmented.
        assert item.found is not None and item.image is not None and item.index is not None
        mask, probabilities, blank, targets, instances, quality, score = item.found
        of.blank += bool(blank)
        in_scope = is_in_scope(score)
        of.unlike += in_scope is False
        notices = [item.image.notice] if item.index == 0 and item.image.notice else []
        if of.blank == count == item.index + 1:
            notices.append(BLANK_MASK)
        elif of.unlike and count == item.index + 1:
            notices.append(out_of_scope(self.known[of.modality], of.unlike, count))
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
            targets=targets,
            instances=instances,
            known_targets=self.target_set.of(self.known[of.modality]),
            quality=quality,
            scope_score=score,
            in_scope=in_scope,
        )


def _let_go(error: BaseException | None) -> None:
    """Remove the frames of an exception, which would keep a batch of images in memory."""
    while error is not None:
        error.__traceback__ = None
        error = error.__cause__ or error.__context__
