"""`espmedsam evaluate`: how well a preset does on labelled data."""

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table

from keras_espmedsam._files import atomic_path
from keras_espmedsam.cli.console import errors_reported, progress_bar, stderr, stdout
from keras_espmedsam.cli.loading import DEFAULT_PRESET, load_segmenter
from keras_espmedsam.data.index import read_index
from keras_espmedsam.data.pictures import MAX_PIXELS
from keras_espmedsam.errors import InputError
from keras_espmedsam.evaluation.evaluate import evaluate as evaluate_records

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
) -> None:
    """Evaluate a preset on labelled data, each image at its own size.

    Prints a table: mean and deviation over the images of Dice, IoU, precision, recall and HD95
    (in pixels), at threshold 0.5. Where both masks are empty an overlap is 1; where one is, HD95
    is the image's diagonal. A data set in several splits is listed per split.

    Exit code: 0, done; 2, wrong usage or nothing done.

    \b
    Examples:
      espmedsam evaluate --data data/index.csv --output report.json
      espmedsam evaluate --data index.csv --split test --split unseen --preset ./my_preset
      espmedsam evaluate --data index.csv --dataset drive --paper-metrics
      espmedsam evaluate --data index.csv --per-image images.csv
    """
    with errors_reported():
        for path, option in ((output, "--output"), (per_image, "--per-image")):
            if path and path.is_dir():
                raise InputError(f"The report {path} is a folder; expected a file name.")
            if path and path.exists() and not overwrite:
                raise InputError(
                    f"The report {path} exists already; choose another {option}, or give "
                    "--overwrite to replace it."
                )
        records = read_index(data, split or ["test"], dataset or None)
        segmenter = load_segmenter(preset)
        rows: list[dict[str, Any]] = []

        def collect(record, truth, probabilities, measures):
            rows.append(_row(record, data.parent, measures))

        with progress_bar() as bar:
            task = bar.add_task("Evaluating", total=len(records))
            report = evaluate_records(
                segmenter,
                records,
                batch_size,
                paper_metrics,
                progress=lambda count: bar.advance(task, count),
                preset=preset,
                max_pixels=max_pixels,
                mirror=mirror,
                each=collect if per_image else None,
            )
        print_report(report)
        if output:
            _write(output, json.dumps(report, indent=2) + "\n")
        if per_image:
            text = io.StringIO()
            table = csv.DictWriter(text, rows[0], lineterminator="\n")
            table.writeheader()
            table.writerows(rows)
            _write(per_image, text.getvalue())


def _row(record, folder, measures):
    """One image of `--per-image`; its path is relative to the index, as there."""
    image = record.image
    image = image.relative_to(folder) if image.is_relative_to(folder) else image
    names = {"dataset": record.dataset, "split": record.split, "modality": record.modality}
    return {**names, "image": image.as_posix(), "index": record.index, **measures}


def _write(path, text):
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"The report {path} cannot be written: {error.strerror}.") from error
    stderr().print(f"Report: {path}")


def print_report(report: dict[str, Any]) -> None:
    """Print a report's table on stdout, with the mean over the data sets of each split.

    Args:
        report: what `keras_espmedsam.evaluation.evaluate` returns.

    Source: ours.
    """
    datasets = report["datasets"]
    measures = [
        name for name in next(iter(datasets.values())) if name not in ("split", "modality", "n")
    ]
    mirrored = ", averaged with the mirrored images" if report.get("mirror") else ""
    title = f"{report['preset']} on {report['backend']}{mirrored}"
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
    stdout().print(table)


def _mean(rows, measure):
    values = [row[measure]["mean"] for row in rows]
    return None if None in values else sum(values) / len(values)


def _cell(measure, value):
    if value["mean"] is None:
        return "-"
    digits = 1 if measure in ("hd95", "hausdorff") else 3
    text = f"{value['mean']:.{digits}f}"
    return text if value.get("std") is None else f"{text} ±{value['std']:.{digits}f}"
