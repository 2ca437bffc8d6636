"""Evaluate a segmenter on a data set."""

import contextlib
import itertools
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from keras_espmedsam._startup import choose_backend
from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.record import Record
from keras_espmedsam.errors import InputError, InputWarning
from keras_espmedsam.evaluation.measure_image import Comparison, ImageMeasurer, takes_option
from keras_espmedsam.evaluation.measured_targets import MeasuredTargets
from keras_espmedsam.evaluation.measurement_log import (
    LogContent,
    Measurement,
    MeasurementLog,
    file_stamps,
)
from keras_espmedsam.evaluation.metrics import DEFAULT_METRICS, MetricError, checked_metrics
from keras_espmedsam.evaluation.outcome import Outcome
from keras_espmedsam.evaluation.read_labelled import LabelledImage, read_labelled
from keras_espmedsam.evaluation.report import (
    image_rows,
    modality_means,
    summarise_datasets,
    summarise_objects,
)
from keras_espmedsam.evaluation.run_settings import record_files, run_settings
from keras_espmedsam.evaluation.surface_dice import tolerances_by_target
from keras_espmedsam.evaluation.target_measures import TargetMeasures
from keras_espmedsam.imaging.content import BLANK_MASK
from keras_espmedsam.imaging.intensity import AUTO, Intensity, already_read, parse_intensity
from keras_espmedsam.inference.chosen_targets import (
    DEFAULT_THRESHOLD,
    Threshold,
    target_set_of,
    thresholds_of,
)
from keras_espmedsam.inference.precision import computed_in
from keras_espmedsam.inference.test_time import OWN_SIZE, Scales, checked_scales

# After this many unexpected errors without a measured image, the images are not to blame.
_GIVE_UP = 8

_Measured = tuple[LabelledImage, list[Comparison]]


def evaluate(
    segmenter: Any,
    records: Sequence[Record],
    batch_size: int = 8,
    paper_metrics: bool = False,
    threshold: Threshold = DEFAULT_THRESHOLD,
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
    tolerance: float | str | Mapping[str, float | str] | None = None,
    postprocess: bool = True,
    scales: Scales | None = None,
) -> dict[str, Any]:
    """Evaluate a segmenter on labelled images, each at its own size.

    Images are read, segmented and measured batch by batch. The slices, frames or pages of a file
    are separate images. An image that cannot be measured (because its file or mask is damaged, they
    do not fit, or the segmenter rejects it) is left out and listed in the report; in a damaged file
    with several images, those before the damage are measured.

    An image is segmented once, and each target that is labelled there is measured. A target that is
    not labelled there is unknown, and not measured. Where the model tells objects apart and the
    data numbers them, the objects are measured, too.

    Args:
        segmenter: an `ESPMedSAMImageSegmenter`, or any object with its `segment` and
            `modalities`.
        records: the images and their masks, from `read_index`.
        batch_size: images per forward pass, and in memory.
        paper_metrics: whether to compute the metrics as published: at 1024 x 1024, smoothed Dice
            and IoU, accuracy, F1 from mean precision and recall, and the maximum Hausdorff
            distance without empty predictions.
        threshold: pixels with at least this probability are foreground; a dict of target to
            threshold gives each its own.
        progress: called with the number of records finished since the last call.
        preset: the preset's name, for the report.
        max_pixels: the most pixels that an image may have.
        mirror: whether to average with the result for the mirrored image; see `segment`.
        each: called for every image and target with its record (whose `index` is the image's
            number in a file with several, and whose `targets` hold that target alone), its true
            mask, the probabilities and its metrics. Not called for images that an interrupted run
            measured.
        on_failure: called immediately with the record and the reason if an image cannot be
            measured; without it, an `InputWarning` summarises them at the end.
        per_image: whether the report also holds the metrics of every image.
        log: path of a file in which the metrics are saved as they come, or an open
            `MeasurementLog`. If the file exists from an interrupted run, its images are not
            measured again unless their files have changed. A run that is resumed with the same
            batch size gives exactly the report of an uninterrupted one. The file stays at the end.
        intensity: the values shown as black and white if a record does not set them; see
            `read_images`. By default the preset's choice.
        on_notice: called with a record and a notice about its image, the end of a sentence that
            begins with its path, such as that black and white were estimated from its values;
            without it, an `InputWarning` counts them at the end.
        metrics: names from `keras_espmedsam.registries.metrics`, to which other packages add, in
            the order of the report, or `"all"`; by default dice, iou, precision, recall and hd95.
        tolerance: the distance that the metric `nsd` allows, by default 2 pixels: a number of
            pixels, or text such as `"1.5mm"` for images whose file gives the size of its pixels;
            or a dict of target to tolerance.
        postprocess: whether small objects are removed and holes filled, if the preset says so.
        scales: factors of the model's image size to average over; see `segment`.

    Returns:
        `{"preset", "backend", "datasets": {NAME: {"split", "modality", "n", "dice": {"mean",
        "std"}, "iou": ..., "precision": ..., "recall": ..., "hd95": ...}}}`. NAME is the data
        set's name, or `NAME/SPLIT` if the records hold several splits of it. The standard deviation
        is that of the population. Images for which a metric is undefined (NaN) are left out of its
        mean, and counted in `"dropped"`. With `mirror` also `"mirror": True`; with `scales` also
        `"scales"`, a list; with `paper_metrics` also `"metrics": "paper"`, and the metrics of
        `summarise_paper`.

        `n` counts the measured images; for a data set without any, the values are None. If images
        could not be measured, also `"failed"`: a list of `{"dataset", "split", "image", "index",
        "count", "reason"}`, in the order of the records: the path, the image's number in its file
        (None if the whole file was rejected), how many images of the file are missing from there
        on, and a sentence.

        With `per_image` also `"images"`: a list of `{"dataset", "split", "modality", "image",
        "index", "dice", ...}`.

        If the model or the data gives targets names, each row also has a `"target"`, `datasets` has
        a row for each target (named `NAME:TARGET` if the data set labels several). With them, or
        with several data sets, `"means"` is the mean of each modality over its targets, or its data
        sets; see `modality_means`.

        If objects were measured, `"instances"` is `{NAME: {"split", "modality", "n", "ap":
        {"mean", "std", "pooled"}, ...}}` with the metrics of `pooled_measures`: mean and standard
        deviation over the images, and the value for the objects of all images together. The rows
        of `images` have these metrics too; they are None where objects were not measured.

    Raises:
        InputError: when there are no records, a record has no mask, a modality or target is unknown
            to the segmenter, a metric is unknown or given with `paper_metrics`, no image can be
            measured, or the log belongs to other images, another segmenter or other options.

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
    """
    _check(segmenter, records)
    if paper_metrics and metrics is not None:
        raise InputError("Received metrics with paper_metrics, which has its own; give only one.")
    metrics = checked_metrics(metrics)
    each_scale = checked_scales(scales, segmenter)
    # Only if they are given, since another segmenter may not have this argument.
    scaled = {} if each_scale == OWN_SIZE else {"scales": list(each_scale)}
    with_tolerance = not paper_metrics and takes_option(metrics, "tolerance")
    if tolerance is not None and not with_tolerance:
        raise InputError(
            "Received a tolerance, which none of the metrics uses; add the metric nsd, or leave "
            "the tolerance out."
        )
    target_set = target_set_of(segmenter)
    targets = MeasuredTargets(target_set, records)
    tolerances = tolerances_by_target(tolerance, targets.names) if with_tolerance else {}
    thresholds = thresholds_of(threshold, target_set)
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

    measure_image = ImageMeasurer(
        targets, metrics, paper_metrics, thresholds, tolerances, notice, keep=bool(each)
    )

    def measure(batch: list[LabelledImage]) -> list[_Measured]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InputWarning)  # Reported below, with the record.
            results = segmenter.segment(
                [sample.image.array for sample in batch],
                [sample.record.modality for sample in batch],
                threshold=threshold,
                batch_size=batch_size,
                mirror=mirror,
                **already_read(segmenter),
                **({} if postprocess else {"postprocess": False}),
                **scaled,
            )
        for sample, blank in zip(batch, results.get("blank", ()), strict=False):
            if blank:
                notice(sample.record, BLANK_MASK)
        return [
            (sample, measure_image(sample, results, number)) for number, sample in enumerate(batch)
        ]

    def attempt(batch: list[LabelledImage]) -> list[_Measured]:
        try:
            return measure(batch)
        # InputError, or anything that a backend raises, such as for an image that is too large for
        # its memory.
        except Exception as error:
            if len(batch) > 1:  # One image is at fault; try each on its own.
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
                # Only if it is not the default, to accept logs of earlier versions.
                **({} if metrics == DEFAULT_METRICS else {"metrics": list(metrics)}),
                **({} if precision == "float32" else {"precision": precision}),
                **({"tolerance": tolerances} if with_tolerance else {}),
                **({} if postprocess else {"postprocess": False}),
                **scaled,
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

        def read(wanted: Mapping[int, Sequence[int]]) -> Iterator[LabelledImage]:
            return read_labelled(outcome, wanted, max_pixels, said, target_set.instances)

        outcome.tell_progress()
        for batch in itertools.chain(
            _batches(read(alone), 1),
            _batches(read(rest), batch_size),
        ):
            for sample in batch:
                notice(sample.record, sample.image.notice)
            found = attempt(batch)
            if len(unexpected) >= _GIVE_UP and not (found or outcome.measured):
                raise outcome.nothing_measured() from unexpected[-1]
            for sample, ones in found:
                outcome.measure(*sample.key, [one.measures for one in ones])
                if each:
                    for one in ones:
                        each(one.record, one.truth, one.probabilities, one.measures.all_values)
            if log is not None:
                measured = [
                    Measurement.of(sample.key, sample.files, one.measures)
                    for sample, ones in found
                    for one in ones
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
    report |= scaled
    if paper_metrics:
        report["metrics"] = "paper"
    report["datasets"] = summarise_datasets(records, outcome.measured, paper_metrics, targets)
    if targets.named or len(report["datasets"]) > 1:
        report["means"] = modality_means(report["datasets"])
    instances = summarise_objects(records, outcome.measured, targets)
    if instances:
        report["instances"] = instances
    if outcome.failures:
        report["failed"] = outcome.failed()
        if on_failure is None:
            missing = sum(one["count"] for one in report["failed"])
            warnings.warn(
                f"{missing} of {missing + len(outcome.measured)} images could not be measured "
                "and are not in the results; see report['failed']. The first: "
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
            f"it has {', '.join(known)}. Choose data sets with these modalities."
        )
    for record in records:
        if record.mask is None:
            raise InputError(
                f"Received the image {record.image} without a mask; give it one, or leave it out."
            )


def _resume(outcome: Outcome, before: LogContent) -> dict[int, list[int]]:
    """Take over the metrics of an earlier run; return images that failed in their batches.

    These are segmented separately again, so that the other batches, and the last bits of their
    results, are the same as in an uninterrupted run.
    """
    stamps = {
        number: file_stamps(*record_files(outcome.records[number])) for number in outcome.wanted
    }
    # The last entry of an image counts: it was measured again after its files changed.
    latest = {(one.record, one.index, one.target): one for one in before.measured}
    whole: dict[tuple[int, int], list[TargetMeasures]] = {}
    for (number, index, _), one in latest.items():
        if index in outcome.wanted.get(number, ()) and one.files == stamps[number]:
            whole.setdefault((number, index), []).append(one.found)
    for key, ones in whole.items():
        outcome.measure(*key, ones)
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
    # Only the first line, because the rest may be long.
    first_line = (str(error).strip().splitlines() or ["no reason given"])[0][:200].rstrip(".")
    return f"{sample.record.image} cannot be segmented ({type(error).__name__}: {first_line})."
