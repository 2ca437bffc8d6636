"""`espmedsam evaluate`: how well a preset does on labelled data."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.console import Console
from rich.table import Table

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
from keras_espmedsam.cli.standard_streams import stdout_is_lost
from keras_espmedsam.data.images import MAX_PIXELS
from keras_espmedsam.data.index import read_index
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.evaluate import evaluate as evaluate_records
from keras_espmedsam.evaluation.measurement_log import MeasurementLog
from keras_espmedsam.evaluation.metrics import checked_metrics
from keras_espmedsam.imaging.intensity import parse_intensity
from keras_espmedsam.inference.load_models import check_name as check_preset

_TITLES = {"iou": "IoU", "hd95": "HD95", "f1": "F1"}


def evaluate(
    data: Annotated[
        Path,
        typer.Option(
            metavar="INDEX.csv",
            help="CSV with the columns split, modality, dataset, image, mask; paths are relative "
            "to it.",
            show_default=False,
        ),
    ],
    preset: Annotated[
        str, typer.Option(help="A built-in preset, a folder, hf://... or kaggle://...")
    ] = DEFAULT_PRESET,
    split: Annotated[
        list[str] | None, typer.Option(help="Split to evaluate (test); may be repeated.")
    ] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="Only this data set; may be repeated.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="REPORT.json", help="Write the figures as JSON.")
    ] = None,
    per_image: Annotated[
        Path | None,
        typer.Option(metavar="IMAGES.csv", help="Write the measures of each image as CSV."),
    ] = None,
    paper_metrics: Annotated[
        bool,
        typer.Option("--paper-metrics", help="Measure as the paper does, at 1024 x 1024."),
    ] = False,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Figure to measure: dice, iou, precision, recall, hd95 or one of another package; "
            "may be repeated (these five).",
            show_default=False,
        ),
    ] = None,
    mirror: Annotated[
        bool,
        typer.Option(
            "--mirror", help="Average with what the mirrored image gives; twice the time."
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images segmented at a time.")] = 8,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="The most pixels (width x height) that one image may have.")
    ] = MAX_PIXELS,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace reports that exist already.")
    ] = False,
    intensity: Annotated[str | None, INTENSITY_OPTION] = None,
    precision: Annotated[str | None, PRECISION_OPTION] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on where the same command was interrupted or failed."),
    ] = False,
    trust: Annotated[bool, TRUST_OPTION] = False,
    compile_cache: CompileCache = None,
) -> None:
    """Evaluate a preset on labelled data, each image at its own size.

    Prints a table: mean and deviation over the images of Dice, IoU, precision, recall and HD95
    (in pixels), at threshold 0.5. Where both masks are empty an overlap is 1; where one is, HD95
    is the image's diagonal. --metric chooses among them, and those that installed packages add; an
    image of which one is undefined is left out of its mean. A data set in several splits is listed
    per split.

    An image that cannot be measured is named on stderr and in REPORT.json, under "failed"; the
    others are measured without it.

    With --output or --per-image the measures are kept as they come, beside the first of them in
    a file whose name ends in .partial. If a run is interrupted, or killed, repeat the command
    with --resume: it loses the batch in work alone and gives the same report. It refuses other
    images, another preset or other options; an image whose files have changed is measured again.
    When all is measured the file is removed; if some failed it stays, so that --resume measures
    only these once they are mended.

    Exit code: 0, all done; 1, some images could not be measured; 2, wrong usage or nothing done;
    130 and 143, interrupted.

    \b
    Examples:
      espmedsam evaluate --data data/index.csv --output report.json
      espmedsam evaluate --data data/index.csv --output report.json --resume
      espmedsam evaluate --data index.csv --split test --split unseen --preset ./my_preset
      espmedsam evaluate --data index.csv --dataset drive --paper-metrics
      espmedsam evaluate --data index.csv --per-image images.csv
      espmedsam evaluate --data index.csv --metric dice --metric hd95
    """
    kept: MeasurementLog | None = None
    with errors_reported(lambda: _done(kept, (output, per_image))):
        said = parse_intensity(intensity, "--intensity")
        check_preset(preset, precision)
        if metric and paper_metrics:
            raise InputError("Received --metric with --paper-metrics, which has its own; give one.")
        checked_metrics(metric or None)  # before the seconds that a preset takes
        files = ReportFiles(output, per_image, overwrite, resume)
        records = read_index(data, split or ["test"], dataset or None)
        files.check_place(data, records)
        with files.log() as log:
            kept = log
            if resume and log is not None:
                count = f"{log.count} images are measured already, in {log.path}."
                stderr().print(count if log.count else "There is nothing to resume: starting anew.")
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
                    preset=preset,
                    max_pixels=max_pixels,
                    mirror=mirror,
                    on_failure=lambda record, reason: print_error(reason, bar.console),
                    per_image=True,
                    log=log,
                    intensity=said,
                    on_notice=lambda record, notice: notices.add(record.image, notice),
                    metrics=metric or None,
                )
                notices.end()
            rows = [_row(row, data.parent) for row in report.pop("images")]
            failures = sum(one["count"] for one in report.get("failed", ()))
            files.write(report, rows, log)
        if not failures:
            files.remove_log()
        print_report(report)
        if stdout_is_lost() and not files.reports:
            print_report(report, stdout(lost=True))  # Or hours of measuring would be lost.
        if failures:
            stderr().print(_failed(len(rows), failures, log))
    if failures:
        raise typer.Exit(SOME_FAILED)


def _row(row, folder):
    """One image of `--per-image`; its path is relative to the index, as there."""
    image = Path(row["image"])
    image = image.relative_to(folder) if image.is_relative_to(folder) else image
    return {**row, "image": image.as_posix()}


def _done(log: MeasurementLog | None, reports: Sequence[Path | None]) -> str:
    if not any(reports):
        return (
            "nothing is kept; with --output or --per-image the measures would be, and --resume "
            "would go on."
        )
    if log is None or not log.count:
        return "it was before anything was measured."
    return (
        f"{log.count} images are measured and kept in {log.path}. Repeat the command with "
        "--resume to go on."
    )


def _failed(count, failures, log):
    again = " Once they are mended, repeat the command with --resume: it measures only these."
    return f"{count} of {count + failures} images measured; {failures} failed." + (
        again if log else ""
    )


def print_report(report: dict[str, Any], console: Console | None = None) -> None:
    """Print a report's table, with the mean over the data sets of each split.

    Args:
        report: what `keras_espmedsam.evaluation.evaluate` returns.
        console: where to print; stdout by default.

    Source: ours.
    """
    datasets = report["datasets"]
    measures = [
        name for name in next(iter(datasets.values())) if name not in ("split", "modality", "n")
    ]
    mirrored = ", averaged with the mirrored images" if report.get("mirror") else ""
    precision = f" in {report['precision']}" if "precision" in report else ""
    title = f"{report['preset']} on {report['backend']}{precision}{mirrored}"
    table = Table(box=box.SIMPLE_HEAD, title=title)
    for title in ("data set", "split", "modality"):
        table.add_column(title, no_wrap=True)
    for title in ("n", *(_TITLES.get(name, name.capitalize()) for name in measures)):
        table.add_column(title, justify="right", no_wrap=True)
    for name, row in datasets.items():
        cells = [_cell(measure, row[measure]) for measure in measures]
        table.add_row(name, row["split"], row["modality"], str(row["n"]), *cells)
    table.add_section()
    for split in dict.fromkeys(row["split"] for row in datasets.values()):
        rows = [row for row in datasets.values() if row["split"] == split]
        if len(rows) > 1:
            means = [_cell(measure, {"mean": _mean(rows, measure)}) for measure in measures]
            total = str(sum(row["n"] for row in rows))
            table.add_row("mean of sets", split, "", total, *means)
    (console or stdout()).print(table)


def _mean(rows, measure):
    values = [row[measure]["mean"] for row in rows]
    return None if None in values else sum(values) / len(values)


def _cell(measure, value):
    if value["mean"] is None:
        return "-"
    digits = 1 if measure in ("hd95", "hausdorff") else 3
    text = f"{value['mean']:.{digits}f}"
    return text if value.get("std") is None else f"{text} ±{value['std']:.{digits}f}"
