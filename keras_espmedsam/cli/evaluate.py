"""`espmedsam evaluate`: measure a preset on labelled data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from keras_espmedsam._shown import shown
from keras_espmedsam.cli.compile_cache import CompileCache, keep_compiled
from keras_espmedsam.cli.console import (
    INTENSITY_OPTION,
    PRECISION_OPTION,
    SOME_FAILED,
    Notices,
    errors_reported,
    print_error,
    progress_bar,
    stderr,
    stdout,
)
from keras_espmedsam.cli.loading import (
    DEFAULT_PRESET,
    TRUST_OPTION,
    compile_notice,
    load_segmenter,
)
from keras_espmedsam.cli.report_files import ReportFiles
from keras_espmedsam.cli.report_tables import print_report
from keras_espmedsam.cli.standard_streams import stdout_is_lost
from keras_espmedsam.cli.test_time import MIRROR_OPTION, SCALES_OPTION
from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.index import read_column, read_index
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.evaluate import evaluate as evaluate_records
from keras_espmedsam.evaluation.measurement_log import MeasurementLog
from keras_espmedsam.evaluation.metrics import checked_metrics
from keras_espmedsam.evaluation.subgroups import summarise_subgroups
from keras_espmedsam.evaluation.surface_dice import parse_tolerance
from keras_espmedsam.evaluation.worst_images import DEFAULT_COUNT, worst_images
from keras_espmedsam.hub.built_in_presets import versioned_name
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.inference.load_models import check_name as check_preset
from keras_espmedsam.inference.test_time import parse_scales


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            metavar="INDEX.csv",
            help="CSV with the columns split, modality, dataset, image, mask, and target if there "
            "are several; paths are relative to it.",
            show_default=False,
        ),
    ],
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = DEFAULT_PRESET,
    split: Annotated[
        list[str] | None, typer.Option(help="Split to evaluate; may be repeated. Default: test.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Evaluate only this data set; may be repeated.")
    ] = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Evaluate only this target, such as vessels; may be repeated. Default: all that "
            "the index labels.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="REPORT.json", help="Write the report as JSON.")
    ] = None,
    per_image: Annotated[
        Path | None,
        typer.Option(metavar="IMAGES.csv", help="Write the metrics of each image as CSV."),
    ] = None,
    paper_metrics: Annotated[
        bool,
        typer.Option("--paper-metrics", help="Compute the paper's metrics, at 1024 x 1024."),
    ] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Metric to compute: dice, iou, precision, recall, hd95, nsd (surface Dice), "
            "cldice (centre lines of vessels), one from an installed package, or all; may be "
            "repeated. Default: the first five.",
            show_default=False,
        ),
    ] = None,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TARGET=]DISTANCE",
            help="Distance that nsd allows, such as 3 (pixels), 1.5mm or vessels=1; may be "
            "repeated. Default: 2 pixels.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="Also compare the images by a column of the index, such as group or hospital; may "
            "be repeated.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[
        int | None,
        typer.Option(
            min=0,
            metavar="N",
            help="Print the N worst images of each data set. REPORT.json lists them, too, 5 by "
            "default.",
            show_default=False,
        ),
    ] = None,
    no_postprocess: Annotated[
        bool,
        typer.Option(
            "--no-postprocess", help="Keep small objects and holes that the preset would clean up."
        ),
    ] = False,
    mirror: Annotated[bool, MIRROR_OPTION] = False,
    scales: Annotated[str | None, SCALES_OPTION] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Images segmented at a time.")] = 8,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Maximum pixels (width x height) of one image.")
    ] = MAX_PIXELS,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace reports that exist already.")
    ] = False,
    intensity: Annotated[str | None, INTENSITY_OPTION] = None,
    precision: Annotated[str | None, PRECISION_OPTION] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Continue the same command after it stopped or failed."),
    ] = False,
    trust: Annotated[bool, TRUST_OPTION] = False,
    compile_cache: CompileCache = None,
) -> None:
    """Evaluate a preset on labelled data, each image at its own size.

    Prints a table with the mean and the standard deviation over the images of Dice, IoU,
    precision, recall and HD95 (in pixels), at threshold 0.5. If both masks are empty, an overlap
    is 1; if only one is empty, HD95 is the image's diagonal. --metric chooses among these metrics
    and those that installed packages add; images for which a metric is undefined are left out of
    its mean. A data set that is in several splits gets a row per split, and one that labels several
    targets a row per target; a target without a mask is unknown, and not measured.

    Where the preset tells objects apart (nuclei) and the index has a column `instances`, a second
    table compares the objects: average precision (AP) of the objects of all images together, and
    the mean over the images of panoptic quality (PQ = SQ x RQ), the aggregated Jaccard index (AJI),
    the Data Science Bowl's score (DSB) and the error in the number of objects.

    --by adds a table with a row for each value of a column within each data set, such as hospitals,
    video sequences, or benign and malignant lesions. REPORT.json has them under "subgroups", and
    under "worst" the images with the lowest Dice of each data set.

    An image that cannot be measured is named on stderr and in REPORT.json, under "failed"; the
    others are still measured.

    With --output or --per-image, finished images are saved as the run proceeds, in a file beside
    the report whose name ends in .partial. If a run is interrupted or killed, repeat the command
    with --resume: only the unfinished batch is lost, and the report is the same. --resume rejects
    other images, another preset or other options; an image whose files have changed is measured
    again. The file is removed when all images are measured. If some failed it stays: fix them, and
    --resume measures only these.

    Exit code: 0, all done; 1, some images could not be measured; 2, wrong usage or nothing done;
    130 or 143, interrupted.

    \b
    Examples:
      espmedsam evaluate --data data/index.csv --output report.json
      espmedsam evaluate --data data/index.csv --output report.json --resume
      espmedsam evaluate --data index.csv --split test --split unseen --preset ./my_preset
      espmedsam evaluate --data index.csv --dataset drive --paper-metrics
      espmedsam evaluate --data index.csv --per-image images.csv
      espmedsam evaluate --data index.csv --metric dice --metric hd95
      espmedsam evaluate --data index.csv --by group --by hospital --worst 10
      espmedsam evaluate --data index.csv --target vessels --metric all --tolerance 1
    """
    kept: MeasurementLog | None = None
    with errors_reported(lambda: _done(kept, (output, per_image))):
        said = parse_intensity(intensity, "--intensity")
        each_scale = parse_scales(scales)
        check_preset(preset, precision)
        if metric and paper_metrics:
            raise InputError(
                "Received --metric with --paper-metrics, which has its own metrics; give one of "
                "them."
            )
        checked_metrics(metric or None)  # Before the preset is loaded, which takes seconds.
        tolerances = _tolerances(tolerance or [])
        files = ReportFiles(output, per_image, overwrite, resume)
        records = read_index(data, split or ["test"], dataset or None, targets=target or None)
        columns = _columns(data, by or (), records)
        files.check_place(data, records)
        with files.log() as log:
            kept = log
            if resume and log is not None:
                count = f"{log.count} images are already measured, in {log.path}."
                stderr().print(count if log.count else "Nothing to resume: starting from scratch.")
            keep_compiled(compile_cache)
            segmenter = load_segmenter(preset, precision, trust)
            with progress_bar() as bar, compile_notice(segmenter, bar.console.print) as first:
                notices = Notices(bar.console)
                task = bar.add_task("Evaluating", total=len(records))

                def advance(count: int) -> None:
                    first.end()
                    bar.advance(task, count)

                report = evaluate_records(
                    segmenter,
                    records,
                    batch_size,
                    paper_metrics,
                    progress=advance,
                    preset=versioned_name(preset),
                    max_pixels=max_pixels,
                    mirror=mirror,
                    scales=each_scale,
                    on_failure=lambda record, reason: print_error(reason, bar.console),
                    per_image=True,
                    log=log,
                    intensity=said,
                    on_notice=lambda record, notice: notices.add(record.image, notice),
                    metrics=metric or None,
                    tolerance=tolerances,
                    postprocess=not no_postprocess,
                )
                notices.end()
            rows = report.pop("images")
            if columns:
                paper = report.get("metrics") == "paper"
                report["subgroups"] = {
                    name: summarise_subgroups(rows, report["datasets"], values, paper)
                    for name, values in columns.items()
                }
            rows = [_row(row, data.parent) for row in rows]
            report["worst"] = worst_images(
                rows, report["datasets"], DEFAULT_COUNT if worst is None else worst
            )
            failures = sum(one["count"] for one in report.get("failed", ()))
            measured = len(rows)
            if "target" in rows[0]:  # Several rows per image.
                measured = len({(row["image"], row["index"]) for row in rows})
            files.write(report, rows, log)
        if not failures:
            files.remove_log()
        print_report(report, show_worst=worst is not None)
        if stdout_is_lost() and not files.reports:
            # Or hours of measuring would be lost.
            print_report(report, stdout(lost=True), worst is not None)
        if failures:
            stderr().print(_failed(measured, failures, log))
    if failures:
        raise typer.Exit(SOME_FAILED)


def _columns(data, names, records):
    """Return the value of each image in the columns of --by."""
    images = {str(record.image) for record in records}
    found = {}
    for name in names:
        values = {str(image): value for image, value in read_column(data, name).items()}
        found[name] = {image: value for image, value in values.items() if image in images}
        if not any(found[name].values()):
            raise InputError(
                f"Received --by {shown(name)}, but this column of {data} is empty for all chosen "
                "images; give another column, or other data sets."
            )
    return found


def _row(row, folder):
    """Return a row of `--per-image`; the path is relative to the index, as in the index."""
    image = Path(row["image"])
    image = image.relative_to(folder) if image.is_relative_to(folder) else image
    return {**row, "image": image.as_posix()}


def _done(log: MeasurementLog | None, reports: Sequence[Path | None]) -> str:
    if not any(reports):
        return (
            "nothing was saved. Use --output or --per-image to save the metrics as they come, so "
            "that --resume can continue."
        )
    if log is None or not log.count:
        return "nothing was measured yet."
    return (
        f"{log.count} images are measured and saved in {log.path}. Repeat the command with "
        "--resume to continue."
    )


def _failed(count, failures, log):
    again = " Fix them, and repeat the command with --resume: it measures only these."
    return f"{count} of {count + failures} images measured; {failures} failed." + (
        again if log else ""
    )


def _tolerances(given: Sequence[str]) -> str | dict[str, str] | None:
    """Return the values of --tolerance, as `evaluate` takes them."""
    found: dict[str, str] = {}
    for text in given:
        target, _, distance = text.rpartition("=")
        target = target.strip()
        parse_tolerance(distance)
        if target in found:
            raise InputError(
                f"Received --tolerance twice for {target or 'all targets'}; give it once."
            )
        found[target] = distance
    return found.get("") if set(found) == {""} else found or None
