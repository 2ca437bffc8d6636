"""Running a segmenter over a data set and reporting how well it did."""

import contextlib
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from keras_espmedsam._startup import choose_backend
from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.evaluation.measurement_log import (
    LogContent,
    Measurement,
    MeasurementLog,
    file_stamps,
)
from keras_espmedsam.evaluation.metrics import (
    DEFAULT_METRICS,
    MetricError,
    checked_metrics,
    image_measures,
)
from keras_espmedsam.evaluation.outcome import Outcome
from keras_espmedsam.evaluation.paper_metrics import paper_image_measures
from keras_espmedsam.evaluation.read_labelled import LabelledImage, read_labelled
from keras_espmedsam.evaluation.report import image_rows, summarise_datasets
from keras_espmedsam.evaluation.run_settings import record_files, run_settings
from keras_espmedsam.imaging.content import BLANK_MASK
from keras_espmedsam.imaging.intensity import AUTO, Intensity, already_read, parse_intensity
from keras_espmedsam.inference.precision import computed_in

# After so many errors that are no InputError, and no image measured, it is no image's fault.
_GIVE_UP = 8


def evaluate(
    segmenter: Any,
    records: Sequence[Record],
    batch_size: int = 8,
    paper_metrics: bool = False,
    threshold: float = 0.5,
    progress: Callable[[int], None] | None = None,
    preset: str | None = None,
    max_pixels: int = MAX_PIXELS,
    mirror: bool = False,
    each: Callable[[Record, np.ndarray, Any, dict[str, float]], None] | None = None,
    on_failure: Callable[[Record, str], None] | None = None,
    per_image: bool = False,
    log: str | os.PathLike | MeasurementLog | None = None,
    intensity: Intensity | None = None,
    on_notice: Callable[[Record, str], None] | None = None,
    metrics: Sequence[str] | str | None = None,
) -> dict[str, Any]:
    """Evaluate a segmenter on labelled images, each at its own size.

    Images are read, segmented and measured batch by batch. A file of several (the slices of a
    volume, frames, pages) is several images here, its mask's file holds as many. An image that
    cannot be measured (its file or its mask is damaged, they do not fit, the segmenter refuses
    it) is left out and named in the report; of a damaged file of several, those that can be read
    before the damage are measured.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, or any object with its `segment` and
            `modalities`.
        records: the images and their masks, from `read_index`.
        batch_size: how many images are held and segmented at a time.
        paper_metrics: whether to compute the measures as published: at 1024 x 1024, smoothed
            Dice and IoU, accuracy, F1 from mean precision and recall, and the Hausdorff maximum
            without empty predictions.
        threshold: foreground is a probability of at least this.
        progress: called with the number of records done since the last call.
        preset: the preset's name, for the report.
        max_pixels: the most pixels that an image may have.
        mirror: whether to average with what the mirrored images give; see `segment`.
        each: called for every image with its record (whose `index` is that of the image in a
            file of several), its true mask, the probabilities and its measures. Not for those
            that an interrupted run measured.
        on_failure: called at once for what cannot be measured, with its record and the reason;
            without it an `InputWarning` says so in the end.
        per_image: whether the report also holds the measures of every image.
        log: a file that keeps the measures as they come. Where it exists, from a run that was
            interrupted, the images in it are not measured again, unless their files have
            changed; a run that is resumed with the same batch size gives exactly the report of
            one that was not interrupted. It stays when the run has ended. Or a `MeasurementLog`
            that is open.
        intensity: what is black and white where a record does not say it; see `read_images`.
            By default what the segmenter's preset says.
        on_notice: called with a record and what is to be said of its image, the end of a sentence
            that begins with it, such as that black and white were taken from its values; without
            it an `InputWarning` counts them in the end.
        metrics: names of `keras_espmedsam.registries.metrics`, to which other packages add, in the
            order of the report; by default dice, iou, precision, recall and hd95.

    Returns:
        `{"preset", "backend", "datasets": {NAME: {"split", "modality", "n", "dice": {"mean",
        "std"}, "iou": ..., "precision": ..., "recall": ..., "hd95": ...}}}`, NAME being the data
        set's name, or `NAME/SPLIT` where the records hold several splits of it. The deviation is
        that of the population; an image of which a metric is undefined (NaN) is left out of its
        mean, and their number is its `"dropped"`. With `mirror` also `"mirror": True`; with
        `paper_metrics` also `"metrics": "paper"`, and the measures of `summarise_paper`.

        `n` counts the images that were measured; of a data set without any, figures are None.
        Where something could not be measured, also `"failed"`: a list of `{"dataset", "split",
        "image", "index", "count", "reason"}`, in the order of the records: the path, the number
        of the image in its file (None where the file as a whole was refused), how many images
        of the file from that one on are missing, and a sentence.

        With `per_image` also `"images"`: a list of `{"dataset", "split", "modality", "image",
        "index", "dice", ...}`.

    Raises:
        InputError: when there are no records, one has no mask, a modality is not one of the
            segmenter's, a metric is unknown or given with `paper_metrics`, no image at all can be
            measured, or the log is one of other images, another segmenter or other options.

    Example:
        >>> import tempfile, types
        >>> from PIL import Image
        >>> path = tempfile.mkdtemp() + "/mask.png"
        >>> Image.new("L", (6, 4), 255).save(path)
        >>> def segment(images, modalities, threshold, batch_size, mirror):
        ...     return {"masks": [image > 0 for image in images]}
        >>> segmenter = types.SimpleNamespace(segment=segment, modalities=("fundus",))
        >>> record = Record("test", "fundus", "drive", path, path)
        >>> evaluate(segmenter, [record])["datasets"]["drive"]["dice"]
        {'mean': 1.0, 'std': 0.0}

    Source: ours.
    """
    _check(segmenter, records)
    if paper_metrics and metrics is not None:
        raise InputError("Received metrics and paper_metrics, which has its own; give one of both.")
    metrics = checked_metrics(metrics)
    precision = computed_in(segmenter)
    said: Intensity = parse_intensity(intensity) or getattr(segmenter, "intensity", None) or AUTO
    notices: Counter[str] = Counter()
    outcome = Outcome(records, max_pixels, progress, on_failure)
    unexpected: list[Exception] = []

    def notice(record: Record, sentence: str) -> None:
        if sentence and on_notice:
            on_notice(record, sentence)
        elif sentence:
            notices[sentence] += 1

    def measure(batch: list[LabelledImage]) -> list[_Measured]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # said below, by the image's record
            results = segmenter.segment(
                [sample.image.array for sample in batch],
                [sample.record.modality for sample in batch],
                threshold=threshold,
                batch_size=batch_size,
                mirror=mirror,
                **already_read(segmenter),
            )
        for sample, blank in zip(batch, results.get("blank", ()), strict=False):
            if blank:
                notice(sample.record, BLANK_MASK)
        return [
            _measured(sample, results, number, metrics, paper_metrics, threshold, bool(each))
            for number, sample in enumerate(batch)
        ]

    def attempt(batch: list[LabelledImage]) -> list[_Measured]:
        try:
            return measure(batch)
        # Besides InputError whatever a backend raises, such as for an image that is too large
        # for its memory.
        except Exception as error:
            if len(batch) > 1:  # one of them is to blame: the others are done without it
                return [one for sample in batch for one in attempt([sample])]
            if not isinstance(error, InputError) or isinstance(error, MetricError):
                unexpected.append(error)
            outcome.fail(*batch[0].key, _sentence(batch[0], error))
            return []

    with contextlib.ExitStack() as stack:
        if log is not None and not isinstance(log, MeasurementLog):
            log = stack.enter_context(MeasurementLog(log))
        alone: dict[int, list[int]] = {}
        if log is not None:
            settings = run_settings(
                segmenter,
                records,
                preset=preset,
                paper_metrics=paper_metrics,
                threshold=threshold,
                mirror=mirror,
                intensity=said if isinstance(said, str) else list(said),
                # Said where it is not the default: logs of earlier versions do not say it.
                **({} if metrics == DEFAULT_METRICS else {"metrics": list(metrics)}),
                **({} if precision == "float32" else {"precision": precision}),
            )
            alone = _resume(outcome, log.begin(settings))
        rest = {
            number: [
                index
                for index in indices
                if (number, index) not in outcome.measured and index not in alone.get(number, ())
            ]
            for number, indices in outcome.wanted.items()
        }
        outcome.tell_progress()
        for batch in itertools.chain(
            _batches(read_labelled(outcome, alone, max_pixels, said), 1),
            _batches(read_labelled(outcome, rest, max_pixels, said), batch_size),
        ):
            for sample in batch:
                notice(sample.record, sample.image.notice)
            found = attempt(batch)
            if len(unexpected) >= _GIVE_UP and not (found or outcome.measured):
                raise outcome.nothing_measured() from unexpected[-1]
            for one in found:
                outcome.measure(*one.sample.key, one.measures)
                if each:
                    each(one.sample.record, one.truth, one.probabilities, one.measures)
            if log is not None:
                measured = [
                    Measurement(*one.sample.key, one.sample.files, one.measures) for one in found
                ]
                failed = [s.key for s in batch if s.key not in outcome.measured]
                log.append(measured, failed)
            outcome.tell_progress()
    outcome.tell_progress()
    if not outcome.measured:
        raise outcome.nothing_measured()
    report: dict[str, Any] = {"preset": preset, "backend": choose_backend()}
    if precision != "float32":
        report["precision"] = precision
    if mirror:
        report["mirror"] = True
    if paper_metrics:
        report["metrics"] = "paper"
    report["datasets"] = summarise_datasets(records, outcome.measured, paper_metrics)
    if outcome.failures:
        report["failed"] = outcome.failed()
        if on_failure is None:
            missing = sum(one["count"] for one in report["failed"])
            warnings.warn(
                f"{missing} of {missing + len(outcome.measured)} images could not be measured "
                "and are not in the figures; see report['failed']. The first: "
                f"{report['failed'][0]['reason']}",
                InputWarning,
                stacklevel=2,
            )
    for told, count in notices.items():
        warnings.warn(f"Of {count} images: {told}.", InputWarning, stacklevel=2)
    if per_image:
        report["images"] = image_rows(records, outcome.measured)
    return report


def _check(segmenter, records):
    if not records:
        raise InputError("Received no images to evaluate; choose a split that has some.")
    known = tuple(segmenter.modalities)
    unknown = sorted({record.modality for record in records} - set(known))
    if unknown:
        raise InputError(
            f"The data holds the modality {', '.join(unknown)}, which this preset does not have; "
            f"it has {', '.join(known)}. Choose data sets of these."
        )
    for record in records:
        if record.mask is None:
            raise InputError(
                f"Received the image {record.image} without a mask; it is measured by one."
            )


class _Measured(NamedTuple):
    sample: LabelledImage
    measures: dict[str, float]
    truth: np.ndarray
    probabilities: np.ndarray | None


def _resume(outcome: Outcome, before: LogContent) -> dict[int, list[int]]:
    """Note what an earlier run measured; give what it had to segment outside of its batches.

    That is segmented by itself once more. So the other batches are those of a run that was not
    interrupted, and with them the last bits of what is measured.
    """
    stamps = {
        number: file_stamps(*record_files(outcome.records[number])) for number in outcome.wanted
    }
    # The last one of an image counts: it was measured again when its files had changed.
    latest = {(one.record, one.index): one for one in before.measured}
    for (number, index), one in latest.items():
        if index in outcome.wanted.get(number, ()) and one.files == stamps[number]:
            outcome.measure(number, index, one.measures)
    alone: dict[int, list[int]] = {}
    for number, index in sorted(set(before.failed)):
        if index in outcome.wanted.get(number, ()) and (number, index) not in outcome.measured:
            alone.setdefault(number, []).append(index)
    return alone


def _batches(samples: Iterator[LabelledImage], size: int) -> Iterator[list[LabelledImage]]:
    while batch := list(itertools.islice(samples, size)):
        yield batch


def _sentence(sample, error):
    if isinstance(error, InputError):
        return f"{sample.record.image}: {error}"
    # The first line alone: what follows may be anything, and long.
    first_line = (str(error).strip().splitlines() or ["no reason given"])[0][:200].rstrip(".")
    return f"{sample.record.image} cannot be segmented ({type(error).__name__}: {first_line})."


def _measured(sample, results, number, metrics, paper_metrics, threshold, keep):
    image = sample.image
    probabilities = results.get("probabilities")
    if probabilities is not None:
        probabilities = image.layout.undo(np.asarray(probabilities[number]))
        if not np.isfinite(probabilities).all():
            raise InputError(
                "the segmenter gives probabilities that are no numbers; its weights may be damaged."
            )
    # Images and masks were turned upright; they are compared as both are stored.
    truth = image.layout.undo(sample.mask)
    if paper_metrics:
        if probabilities is None:
            raise InputError(
                "the segmenter gives no probabilities, which the paper's measures need."
            )
        measures = paper_image_measures(truth, probabilities, threshold)
    else:
        prediction = image.layout.undo(results["masks"][number])
        measures = image_measures(truth, prediction, metrics)
    return _Measured(sample, measures, truth, probabilities if keep else None)
